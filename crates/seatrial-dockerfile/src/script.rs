//! What shell text runs: a flat list of commands, so that rules ask for programs and arguments and never for
//! characters.
//!
//! Reading order: [`body`] (an instruction to shell text), [`outline`](mod@outline) (cuts substitutions out),
//! [`guard`] (the parser and what it may cost), [`tree`] (its tree to events), [`word`] (quotes and variables),
//! [`variables`], [`read`](mod@read) (events to commands), [`wrap`] (`sudo`, `env` and other programs that run programs),
//! [`given`] and [`follow`] (what a command runs: `sh -c`, `eval`, functions, what it reads from another command or a file
//! of [`memory`]), [`embedded`] (commands in programs of other languages).
//!
//! Invariant: nothing recurses on the depth of the text, work is linear in it and bounded for each file. What
//! is beyond the bounds or does not parse says so: [`Script::not_understood`].

mod body;
mod command;
mod embedded;
pub(crate) mod escape;
mod follow;
mod given;
mod guard;
mod memory;
mod outline;
mod plain;
mod read;
mod shown;
mod source;
mod tree;
mod variables;
mod word;
mod wrap;

use std::collections::HashMap;

use seatrial_core::finding::Span;

pub use self::plain::shell_commands;
pub(crate) use self::{
    body::{Interpreter, of_document, of_instruction, remember_document},
    command::{Command, Redirect, Redirection, Via, base_name, is_input, is_shell},
    memory::Memory,
    word::ShellWord,
};

/// How many pipelines around its own a command remembers.
const MAX_OUTER: usize = 64;
/// How many commands before it in its pipelines a command is asked for.
const MAX_FEEDERS: usize = 64;

/// The commands of one instruction.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// In order of the text; what stands in a substitution or is run by `sh -c` follows the command that it
    /// belongs to.
    pub(crate) commands: Vec<Command>,
    /// Parts that are not shell text that can be read, or too large to be read.
    pub(crate) not_understood: Vec<Unread>,
    /// The instruction runs commands only when an image is built on this one, or in another stage.
    pub(crate) is_trigger: bool,
    /// `SHELL` names no shell that is known here: habits of shells are none of its own.
    pub(crate) is_foreign: bool,
    /// For each pipeline the position in another that it stands in.
    outer: Vec<Option<(usize, usize)>>,
    /// For each real pipeline who is in it, also in nested ones: position and command.
    members: HashMap<usize, Vec<(usize, usize)>>,
}

/// A part of a script that no rule sees into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unread {
    pub(crate) span: Span,
    pub(crate) why: Why,
}

/// Why a part was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// It is no shell text that the parser knows.
    Grammar,
    /// The program is a pattern of file names.
    Pattern,
    /// It is nested too deeply, or too large. No honest file is.
    Limit,
    /// More is handed from command to command than is followed.
    Guesses,
}

impl Script {
    /// The commands whose output a command reads, the nearest first: those before it in its pipeline, and in
    /// the pipelines around it.
    pub(crate) fn feeders(&self, index: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let Some(command) = self.commands.get(index) else {
            return found;
        };
        for (pipeline, position) in around(&self.outer, command) {
            let Some(members) = self.members.get(&pipeline) else {
                continue;
            };
            let before = members.partition_point(|(_, member)| *member < index);
            let feeding = members.iter().take(before).rev().filter(|(at, _)| *at < position);
            let room = MAX_FEEDERS.saturating_sub(found.len());
            found.extend(feeding.map(|(_, member)| *member).take(room));
        }
        found
    }

    /// Those of the nearest pipeline alone in which a command has some, in the order of the text, and its position there.
    fn near_feeders(&self, index: usize) -> Option<((usize, usize), Vec<usize>)> {
        let command = self.commands.get(index)?;
        around(&self.outer, command).find_map(|(pipeline, position)| {
            // They stand in the order of the text, and so of their positions.
            let members = self.members.get(&pipeline)?.iter();
            let before = members.take_while(|(at, member)| *member < index && *at < position);
            let feeding: Vec<usize> = before.map(|(_, member)| *member).take(MAX_FEEDERS).collect();
            (!feeding.is_empty()).then_some(((pipeline, position), feeding))
        })
    }

    /// The commands that stand in substitutions of a command's words: `sh -c "$(curl …)"`, `bash <(curl …)`.
    pub(crate) fn substituted(&self, index: usize) -> impl Iterator<Item = (usize, &Command)> {
        let children = self.commands.iter().enumerate().skip(index + 1);
        children
            .take_while(move |(_, command)| command.parent.is_some_and(|parent| parent >= index))
            .filter(move |(_, command)| {
                command.parent == Some(index) && matches!(command.via, Via::Substitution | Via::ProcessInput)
            })
    }

    /// Opens a pipeline that stands in a position of another.
    fn open_pipeline(&mut self, outer: Option<(usize, usize)>, is_piped: bool) -> usize {
        let index = self.outer.len();
        // A command by itself is a pipeline as well; the way outwards leads through real ones only.
        let outer = match outer {
            Some((around, _)) if !self.members.contains_key(&around) => self.outer.get(around).copied().flatten(),
            outer => outer,
        };
        self.outer.push(outer);
        if is_piped {
            self.members.insert(index, Vec::new());
        }
        index
    }

    fn push(&mut self, command: Command) -> usize {
        let index = self.commands.len();
        for (pipeline, position) in around(&self.outer, &command) {
            if let Some(members) = self.members.get_mut(&pipeline) {
                members.push((position, index));
            }
        }
        self.commands.push(command);
        index
    }
}

/// A command's position in its pipeline, and those of that one in the pipelines around it.
fn around(outer: &[Option<(usize, usize)>], command: &Command) -> impl Iterator<Item = (usize, usize)> {
    let own = (command.pipeline, command.position);
    std::iter::successors(Some(own), |(pipeline, _)| outer.get(*pipeline).copied().flatten()).take(MAX_OUTER)
}

#[cfg(test)]
mod tests;
