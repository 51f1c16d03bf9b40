//! Events to commands: words are read, variables followed, and what one command gives another to run is read
//! as well.

use std::{cell::RefCell, collections::HashMap, ops::Range, rc::Rc};

use seatrial_core::finding::Span;

use super::{
    Script, Unread, Why,
    command::{Command, Context, Redirect, Redirection, Via, base_name},
    guard::{self, Budget},
    memory::Memory,
    outline::{self, Kind, Outline},
    source::Source,
    tree::{self, Event, Parts, Pipeline, Redirected, Slot},
    variables::{Assigned, MAX_MAYBE, Positional, Quoted, lasts},
    word::{self, ShellWord},
    wrap,
};

/// How deep `sh -c`, `eval`, substitutions and functions are followed in each other.
pub(super) const MAX_DEPTH: usize = 14;

/// Where a text stands.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    /// The position in a pipeline.
    pub(super) outer: Option<Slot>,
    pub(super) parent: Option<usize>,
    pub(super) via: Via,
    pub(super) context: Context,
    pub(super) depth: usize,
    /// It may well not be shell text: then nothing is said.
    pub(super) is_guess: bool,
}

impl Place {
    /// Why a text here is not read when there is too much of it.
    pub(super) fn limit(self) -> Why {
        if self.is_guess { Why::Guesses } else { Why::Limit }
    }
}

#[derive(Clone)]
pub(super) struct Function {
    pub(super) outline: Rc<Outline>,
    pub(super) piece: usize,
    pub(super) body: Range<usize>,
    pub(super) context: Context,
    pub(super) is_called: bool,
}

/// Reads the texts of one instruction.
pub(super) struct Reader<'a> {
    pub(super) script: Script,
    /// Text is read by bash; otherwise it may be read by dash as well.
    pub(super) is_bash: bool,
    pub(super) memory: &'a Memory,
    /// The variables that the file decides.
    pub(super) outer: &'a dyn Fn(&str) -> Option<String>,
    pub(super) assigned: HashMap<String, Assigned>,
    pub(super) positional: Vec<Positional>,
    pub(super) functions: HashMap<String, Function>,
    /// Files that are being read, each out of the one before.
    pub(super) open_files: Vec<String>,
    /// Positions in pipelines whose input is being read.
    pub(super) open_inputs: Vec<Slot>,
    /// What commands write, once it was asked for.
    pub(super) outputs: RefCell<HashMap<usize, Option<Source>>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(memory: &'a Memory, outer: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            script: Script::default(),
            is_bash: false,
            memory,
            outer,
            assigned: HashMap::new(),
            positional: vec![Some(Vec::new())],
            functions: HashMap::new(),
            open_files: Vec::new(),
            open_inputs: Vec::new(),
            outputs: RefCell::default(),
        }
    }

    /// Everything was read: what no call reached is read for itself.
    pub(super) fn finish(mut self) -> Script {
        let mut rest: Vec<Function> = self.functions.drain().map(|(_, function)| function).collect();
        rest.retain(|function| !function.is_called);
        rest.sort_by_key(|function| (function.piece, function.body.start));
        self.positional.push(None);
        for function in rest {
            let place = Place {
                context: Context {
                    uncalled: true,
                    ..function.context
                },
                depth: 1,
                ..Place::default()
            };
            self.region(&function.outline, function.piece, function.body, place);
        }
        if self.memory.guesses.is_spent()
            && !self.memory.told.replace(true)
            && let Some(last) = self.script.commands.last()
        {
            let span = last.span;
            self.unread(span, Why::Guesses);
        }
        self.script
    }

    /// What reading a text in this place is paid from.
    fn budget(&self, place: Place) -> &'a Budget {
        if place.is_guess {
            &self.memory.guesses
        } else {
            &self.memory.budget
        }
    }

    /// Reads a whole text.
    pub(super) fn text(&mut self, source: Source, place: Place) {
        let whole = source.span(0..source.text.len());
        let bare = source.text.trim();
        if bare.is_empty() || (place.is_guess && matches!(bare, "$()" | "<()")) {
            return;
        }
        let lines = source.clone();
        if place.depth >= MAX_DEPTH {
            self.unread(whole, place.limit());
            return;
        }
        if !self.budget(place).spend(source.text.len()) {
            self.spent(whole, place);
            return;
        }
        match outline::outline(source) {
            Some(outline) => {
                if outline.is_ambiguous && !self.is_bash {
                    self.unread(whole, Why::Grammar);
                }
                let len = outline.pieces.first().map_or(0, |piece| piece.source.text.len());
                self.region(&Rc::new(outline), 0, 0..len, place);
            }
            None => {
                if !place.is_guess {
                    self.unread(whole, Why::Grammar);
                }
                self.lines(&lines, place);
            }
        }
    }

    /// Says that there was nothing left to pay for something; of what is only followed that is said once.
    fn spent(&mut self, span: Span, place: Place) {
        if !place.is_guess || !self.memory.told.replace(true) {
            self.unread(span, place.limit());
        }
    }

    /// Says that something was not read.
    pub(super) fn unread(&mut self, span: Span, why: Why) {
        self.script.not_understood.push(Unread { span, why });
    }

    /// A shell runs a script as far as it can read it: what stands in lines of its own before that place is run, whatever
    /// comes after it.
    fn lines(&mut self, source: &Source, place: Place) {
        if place.depth >= MAX_DEPTH || !source.text.trim_end().contains('\n') {
            return;
        }
        let place = Place {
            is_guess: true,
            depth: place.depth + 1,
            ..place
        };
        let mut at = 0;
        for line in source.text.split_inclusive('\n') {
            let mut own = Source::default();
            own.push_part(source, at..at + line.len());
            at += line.len();
            self.text(own, place);
        }
    }

    /// Reads a part of a piece.
    pub(super) fn region(&mut self, outline: &Rc<Outline>, index: usize, range: Range<usize>, place: Place) {
        let Some(piece) = outline.pieces.get(index) else {
            return;
        };
        let text = piece.source.text.get(range.clone()).unwrap_or_default();
        if place.depth >= MAX_DEPTH {
            self.unread(piece.source.span(range), place.limit());
            return;
        }
        let flat = match guard::parse(text, self.budget(place), |nodes| tree::flatten(text, nodes)) {
            Ok(flat) => flat,
            Err(Why::Limit) => {
                self.spent(piece.source.span(range), place);
                return;
            }
            Err(why) => {
                if !place.is_guess {
                    self.unread(piece.source.span(range.clone()), why);
                }
                let mut own = Source::default();
                own.push_part(&piece.source, range);
                self.lines(&own, place);
                return;
            }
        };
        let base = self.pipelines(&flat.pipelines, place.outer);
        let region = Region {
            outline,
            index,
            source: &piece.source,
            offset: range.start,
            base,
            place,
        };
        let mut seen = Vec::new();
        for event in flat.events {
            match event {
                Event::Command(parts) => self.command(&region, parts, &mut seen),
                Event::Function { name, body, context } => {
                    let body = region.absolute(&body);
                    seen.extend(outline.cuts(index, &body).iter().map(|(_, cut)| *cut));
                    let function = Function {
                        outline: Rc::clone(outline),
                        piece: index,
                        body,
                        context: join(place.context, context),
                        is_called: false,
                    };
                    self.functions.insert(name, function);
                }
                Event::Varies { name, words } => {
                    let mut values = Vec::new();
                    for word in &words {
                        word::expand(&Source::at(word, 0), 0..word.len(), self, &mut values);
                    }
                    let maybe = values.into_iter().filter(|word| word.sure).map(|word| word.text);
                    let assigned = Assigned {
                        value: None,
                        maybe: maybe.take(MAX_MAYBE).collect(),
                    };
                    self.assigned.insert(name, assigned);
                }
            }
        }
        // Substitutions that belong to no command: in conditions, in what a loop runs over.
        seen.sort_unstable();
        for (_, cut) in outline.cuts(index, &range) {
            if seen.binary_search(cut).is_err() {
                self.cut(outline, *cut, None, place);
            }
        }
    }

    fn pipelines(&mut self, pipelines: &[Pipeline], outer: Option<Slot>) -> usize {
        let base = self.script.outer.len();
        for pipeline in pipelines {
            let outer = match pipeline.outer {
                Some((inner, position)) => Some((base + inner, position)),
                None => outer,
            };
            self.script.open_pipeline(outer, pipeline.is_piped);
        }
        base
    }

    /// A substitution that was cut out.
    fn cut(&mut self, outline: &Rc<Outline>, cut: usize, parent: Option<usize>, place: Place) {
        let Some(piece) = outline.pieces.get(cut) else { return };
        let via = match piece.kind {
            Kind::ProcessIn => Via::ProcessInput,
            Kind::ProcessOut => Via::ProcessOutput,
            Kind::Whole | Kind::Command | Kind::Arithmetic => Via::Substitution,
        };
        let inner = Place {
            outer: None,
            parent,
            via,
            context: Context {
                subshell: true,
                ..place.context
            },
            depth: place.depth + 1,
            is_guess: place.is_guess,
        };
        let whole = 0..piece.source.text.len();
        if piece.kind == Kind::Arithmetic {
            for (_, deeper) in outline.cuts(cut, &whole) {
                if inner.depth < MAX_DEPTH {
                    self.cut(outline, *deeper, parent, inner);
                }
            }
        } else if !piece.source.text.trim().is_empty() {
            self.region(outline, cut, whole, inner);
        }
    }

    fn command(&mut self, region: &Region<'_>, parts: Parts, seen: &mut Vec<usize>) {
        let mut cuts: Vec<usize> = Vec::new();
        let mut take = |range: &Range<usize>| {
            let found = region.outline.cuts(region.index, range).iter().map(|(_, cut)| *cut);
            cuts.extend(found);
        };
        let mut words = Vec::new();
        for range in &parts.words {
            let range = region.absolute(range);
            take(&range);
            word::expand(region.source, range, self, &mut words);
        }
        let mut assignments = Vec::new();
        for range in &parts.assignments {
            let range = region.absolute(range);
            take(&range);
            assignments.extend(self.assignment(region.source, range));
        }
        let mut redirects = Vec::new();
        for redirect in &parts.redirects {
            let range = region.absolute(&redirect.target);
            take(&range);
            redirects.push(self.redirect(region, redirect, range));
        }
        let context = join(region.place.context, parts.context);
        if words.is_empty() {
            for (name, value) in &assignments {
                self.assign(name, Some(value), context);
            }
        }
        let index = self.line(
            Line {
                words,
                assignments,
                redirects,
                span: region.source.span(region.absolute(&parts.span)),
                slot: (region.base + parts.slot.0, parts.slot.1),
                context,
            },
            region.place,
        );
        seen.extend(&cuts);
        let place = Place {
            context,
            ..region.place
        };
        for cut in cuts {
            self.cut(region.outline, cut, Some(index), place);
        }
        self.remember(index);
        self.descend(index, region.place);
    }

    fn assignment(&self, source: &Source, range: Range<usize>) -> Option<(String, ShellWord)> {
        let text = source.text.get(range.clone())?;
        let equals = text.find('=')?;
        let name = text.get(..equals)?;
        let name = name.strip_suffix('+').unwrap_or(name);
        let mut words = Vec::new();
        let value = range.start + equals + 1..range.end;
        word::expand(source, value.clone(), &Quoted(self), &mut words);
        let mut words = words.into_iter();
        let word = words.next().unwrap_or_else(|| ShellWord::plain("", source.span(value)));
        Some((name.to_owned(), word))
    }

    fn redirect(&self, region: &Region<'_>, redirect: &Redirected, range: Range<usize>) -> Redirect {
        let mut words = Vec::new();
        let is_body = redirect.kind == Redirection::Here && !redirect.span.contains(&redirect.target.start);
        if is_body {
            words.push(word::body(region.source, range.clone(), redirect.literal));
        } else {
            word::expand(region.source, range.clone(), &Quoted(self), &mut words);
        }
        let mut words = words.into_iter();
        Redirect {
            kind: redirect.kind,
            descriptor: redirect.descriptor,
            target: words
                .next()
                .unwrap_or_else(|| ShellWord::plain("", region.source.span(range))),
            span: region.source.span(region.absolute(&redirect.span)),
        }
    }

    /// A line of words becomes a command.
    fn line(&mut self, line: Line, place: Place) -> usize {
        let mut unwrapped = wrap::unwrap(line.words);
        let mut assignments = line.assignments;
        assignments.append(&mut unwrapped.assignments);
        let first = unwrapped.words.first();
        let builtin = first.filter(|word| word.sure).map_or("", |word| word.text.as_str());
        match builtin {
            "export" | "declare" | "typeset" | "readonly" | "local" => {
                let found: Vec<_> = unwrapped.words.iter().skip(1).filter_map(wrap::assignment).collect();
                for (name, value) in &found {
                    self.assign(name, Some(value), line.context);
                }
                assignments.extend(found);
            }
            "unset" | "read" | "getopts" | "mapfile" | "readarray" => {
                let names: Vec<_> = unwrapped.words.iter().skip(1).map(|word| word.text.clone()).collect();
                let here = line.redirects.iter().rev().find(|one| one.kind == Redirection::Here);
                // With several names each gets a part.
                let value = here.filter(|_| builtin == "read" && names.len() == 1);
                for name in names.iter().filter(|name| wrap::is_name(name)) {
                    self.assign(name, value.map(|redirect| &redirect.target), line.context);
                }
            }
            "set" => {
                if let Some(at) = unwrapped.words.iter().position(|word| word.text == "--") {
                    let values = unwrapped.words.get(at..).unwrap_or_default();
                    let known = values.iter().all(|word| word.sure) && lasts(line.context);
                    // The first is the name of the script, which nobody knows.
                    let values = values.iter().enumerate().map(|(at, word)| match at {
                        0 => String::new(),
                        _ => word.text.clone(),
                    });
                    self.set_positional(known.then(|| values.collect()));
                }
            }
            "shift" => self.set_positional(None),
            _ => {}
        }
        if unwrapped.is_cut {
            self.unread(line.span, Why::Limit);
        }
        if let Some(word) = unwrapped.words.first().filter(|word| word.pattern && hides(&word.text)) {
            self.unread(word.span, Why::Pattern);
        }
        self.script.push(Command {
            words: unwrapped.words,
            wrappers: unwrapped.wrappers,
            assignments,
            redirects: line.redirects,
            pipeline: line.slot.0,
            position: line.slot.1,
            context: line.context,
            parent: place.parent,
            via: place.via,
            span: line.span,
        })
    }

    /// A command that is no shell text but a list of arguments.
    pub(super) fn argv(&mut self, words: Vec<ShellWord>, redirects: Vec<Redirect>, place: Place) {
        let (Some(first), Some(last)) = (words.first(), words.last()) else {
            return;
        };
        let span = Span::new(first.span.start, last.span.end.max(first.span.start));
        let pipeline = self.script.open_pipeline(place.outer, false);
        let line = Line {
            words,
            assignments: Vec::new(),
            redirects,
            span,
            slot: (pipeline, 0),
            context: place.context,
        };
        let index = self.line(line, place);
        self.descend(index, place);
    }
}

/// A part of a piece that is being read.
struct Region<'a> {
    outline: &'a Rc<Outline>,
    index: usize,
    source: &'a Source,
    offset: usize,
    base: usize,
    place: Place,
}

impl Region<'_> {
    fn absolute(&self, range: &Range<usize>) -> Range<usize> {
        range.start + self.offset..range.end + self.offset
    }
}

/// A line before its wrappers are taken off.
struct Line {
    words: Vec<ShellWord>,
    assignments: Vec<(String, ShellWord)>,
    redirects: Vec<Redirect>,
    span: Span,
    slot: Slot,
    context: Context,
}

/// Whether a pattern in the place of a program hides which one it is. A package's own folder may have any name, and what an
/// archive left there (`./jdk-*.bin`) has a version in it; what stands among the system's programs has a name.
fn hides(pattern: &str) -> bool {
    let special = ['*', '?', '[', '{'];
    let name = base_name(pattern);
    let folder = pattern.get(..pattern.len() - name.len()).unwrap_or_default();
    name.contains(special)
        && (folder.contains(special)
            || matches!(
                folder,
                "" | "/bin/" | "/sbin/" | "/usr/bin/" | "/usr/sbin/" | "/usr/local/bin/" | "/usr/local/sbin/"
            ))
}

pub(super) fn join(outer: Context, inner: Context) -> Context {
    Context {
        conditional: outer.conditional || inner.conditional,
        background: outer.background || inner.background,
        looped: outer.looped || inner.looped,
        tested: outer.tested || inner.tested,
        uncalled: outer.uncalled || inner.uncalled,
        subshell: outer.subshell || inner.subshell,
    }
}
