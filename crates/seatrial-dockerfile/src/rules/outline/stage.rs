//! ST110 to ST114: names of stages and the case of keywords.

use seatrial_core::finding::{Edit, Fix, Span};

use super::Survey;
use crate::{
    Parsed,
    ast::{Instruction, Keyword},
    gotext,
    rules::{
        catalogue::{ST110, ST111, ST112, ST113, ST114},
        sink::{Sink, quoted, replace},
    },
};

/// How most keywords of the file are written.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Case {
    #[default]
    Upper,
    Lower,
    /// In upper case mostly, but not all.
    MostlyUpper,
    /// In lower case mostly, but not all.
    MostlyLower,
}

impl Case {
    /// What most instructions of the stages have; upper case where it is even.
    pub(super) fn of(parsed: &Parsed) -> Self {
        let mut upper = 0_usize;
        let mut lower = 0_usize;
        let mut mixed = 0_usize;
        let in_stages = parsed
            .dockerfile
            .instructions
            .iter()
            .skip_while(|instruction| instruction.keyword != Keyword::From);
        for instruction in in_stages {
            match Self::of_word(parsed.slice(instruction.keyword_span)) {
                Some(Self::Lower) => lower += 1,
                Some(_) => upper += 1,
                None => mixed += 1,
            }
        }
        match (upper, lower, mixed) {
            (_, 0, 0) => Self::Upper,
            (0, _, 0) => Self::Lower,
            _ if lower > upper => Self::MostlyLower,
            _ => Self::MostlyUpper,
        }
    }

    /// All keywords are written in one way.
    pub(super) fn is_uniform(self) -> bool {
        matches!(self, Self::Upper | Self::Lower)
    }

    fn apply(self, word: &str) -> String {
        match self {
            Self::Upper | Self::MostlyUpper => gotext::upper(word),
            Self::Lower | Self::MostlyLower => gotext::lower(word),
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        if word == gotext::lower(word) {
            Some(Self::Lower)
        } else if word == gotext::upper(word) {
            Some(Self::Upper)
        } else {
            None
        }
    }
}

/// A keyword that differs from the rest.
pub(super) fn keyword(instruction: &Instruction, survey: &Survey<'_>, sink: &mut Sink<'_>) {
    let in_stage = instruction.keyword == Keyword::From || !survey.stages.is_empty();
    let parsed = sink.parsed();
    let written = parsed.slice(instruction.keyword_span);
    let wanted = survey.case.apply(written);
    if !in_stage || instruction.keyword == Keyword::Unknown || written == wanted {
        return;
    }
    sink.report_fixed(
        &ST114,
        instruction.keyword_span,
        || format!("{} would be {} like the rest", quoted(written), quoted(&wanted)),
        || {
            let mut edits = vec![Edit {
                span: instruction.keyword_span,
                text: wanted.clone(),
            }];
            edits.extend(as_word(instruction).and_then(|(span, _)| {
                let word = parsed.slice(span);
                let text = survey.case.apply(word);
                (word != text && gotext::is_as(word)).then_some(Edit { span, text })
            }));
            Some(Fix {
                title: "Write the keyword like the others".to_owned(),
                edits,
            })
        },
    );
}

/// The `AS` of a `FROM` and the name behind it.
fn as_word(instruction: &Instruction) -> Option<(Span, &crate::ast::Word)> {
    match instruction.words() {
        [_, word, name] if instruction.keyword == Keyword::From => Some((word.span, name)),
        _ => None,
    }
}

/// The name that a `FROM` gives.
pub(super) fn from(instruction: &Instruction, survey: &Survey<'_>, sink: &mut Sink<'_>) {
    let Some((as_span, name)) = as_word(instruction) else {
        return;
    };
    let lower = gotext::lower(&name.value);
    if survey.stages.iter().any(|stage| stage.name.as_ref() == Some(&lower)) {
        sink.report(&ST110, name.span, || {
            format!("an earlier stage is called {} as well", quoted(&lower))
        });
    }
    if lower == "scratch" || lower == "context" {
        sink.report(&ST111, name.span, || format!("{} is a reserved name", quoted(&lower)));
    }
    if lower != name.value {
        sink.report_fixed(
            &ST112,
            name.span,
            || format!("the builder calls the stage {}", quoted(&lower)),
            || Some(replace("Write the name in lower case", name.span, lower.clone())),
        );
    }
    let parsed = sink.parsed();
    let keyword = parsed.slice(instruction.keyword_span);
    let word = parsed.slice(as_span);
    let Some(case) = Case::of_word(keyword) else {
        return; // told by its own rule
    };
    if word != case.apply(word) {
        let wanted = survey.case.apply(word);
        sink.report_fixed(
            &ST113,
            as_span,
            || format!("{} does not go with {}", quoted(word), quoted(keyword)),
            || (word != wanted).then(|| replace("Write AS like FROM", as_span, wanted.clone())),
        );
    }
}
