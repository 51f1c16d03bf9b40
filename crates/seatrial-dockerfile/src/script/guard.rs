//! The grammar's parser, kept from what it cannot bear.
//!
//! `rable` is a recursive parser. Each level of its recursion costs the text at least one bracket, reserved
//! word, separator or operator of arithmetic, so that counting these, wherever they stand, bounds its stack: quotes and
//! comments could hide the closing half of a pair from anything cleverer. What may go deeper than the stack at
//! hand is parsed on a larger one, what may go deeper than that is not understood.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use rable::Node;

use super::Why;

/// Levels that the stack at hand bears: up to 40 KiB each were measured without optimisation, 6 KiB with it.
const HERE: usize = if cfg!(debug_assertions) { 16 } else { 96 };
/// Levels that the larger stack bears.
const THERE: usize = 4_000;
/// Only what is used of it is ever there.
const LARGE_STACK: usize = if cfg!(debug_assertions) { 192 << 20 } else { 32 << 20 };
/// The work of making the larger stack.
const STACK_WORK: usize = 30_000;
/// Work that one file may ask for. One unit is what a byte costs, about 70 ns; the largest of 942 real files
/// asks for less than a twentieth.
const BUDGET: usize = 800_000;
/// The work of a word or operator, beside its bytes.
const TOKEN: usize = 40;

/// The work that the scripts of one file may still ask for.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Cell<usize>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            left: Cell::new(BUDGET),
        }
    }
}

impl Budget {
    /// Nothing is left.
    pub(super) fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    /// Takes work away, if there is enough.
    pub(super) fn spend(&self, work: usize) -> bool {
        let left = self.left.get().checked_sub(work);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }
}

/// What a text may cost, found in one pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Weight {
    levels: usize,
    work: usize,
}

/// Parses a text and hands the tree to `read`, on a stack that bears both.
pub(super) fn parse<T: Send>(text: &str, budget: &Budget, read: impl FnOnce(&[Node]) -> T + Send) -> Result<T, Why> {
    let weight = weigh(text);
    let stack_work = if weight.levels > HERE { STACK_WORK } else { 0 };
    if weight.levels > THERE || !budget.spend(weight.work + stack_work) {
        return Err(Why::Limit);
    }
    let work = || {
        let nodes = rable::parse(text, false).ok()?;
        Some(read(&nodes))
    };
    // The parser has branches that it calls unreachable; hostile text shall not be what finds out.
    let guarded = || catch_unwind(AssertUnwindSafe(work)).ok().flatten();
    if weight.levels <= HERE {
        return guarded().ok_or(Why::Grammar);
    }
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(LARGE_STACK);
        let parser = builder.spawn_scoped(scope, guarded).map_err(|_| Why::Limit)?;
        parser.join().ok().flatten().ok_or(Why::Grammar)
    })
}

fn weigh(text: &str) -> Weight {
    let mut weight = Weight {
        levels: 0,
        work: text.len(),
    };
    let mut operators = 0;
    let mut separators = 0;
    let mut has_arithmetic = false;
    let mut before = b' ';
    let mut word_start = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'{' | b'[' | b'`' => {
                weight.levels += 1;
                has_arithmetic |= byte != b'{' && before != b' ' && before != b'\n';
            }
            b'!' => weight.levels += 1,
            b';' | b'\n' => separators += 1,
            b'&' | b'|' if before != byte => separators += 1,
            b'=' | b'?' | b'*' | b'~' | b'-' | b'+' => operators += 1,
            _ => {}
        }
        let ends = is_break(byte);
        if ends || is_break(before) {
            if !is_break(before) || !matches!(byte, b' ' | b'\n' | b'\t') {
                weight.work += TOKEN;
            }
            if ends && is_reserved(text.get(word_start..at).unwrap_or_default()) {
                weight.levels += 1;
            }
            word_start = at + usize::from(ends);
        }
        before = byte;
    }
    if is_reserved(text.get(word_start..).unwrap_or_default()) {
        weight.levels += 1;
    }
    // Lists are trees that lean to the left: they are built in a loop, but taken apart by recursion.
    weight.levels += separators / 16;
    if has_arithmetic {
        weight.levels += operators / 8;
    }
    weight
}

fn is_break(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\n' | b';' | b'|' | b'&' | b'<' | b'>' | b'(' | b')' | b'{' | b'}' | b'`'
    )
}

fn is_reserved(word: &str) -> bool {
    matches!(
        word,
        "if" | "elif" | "while" | "until" | "for" | "case" | "select" | "time" | "coproc" | "function"
    )
}
