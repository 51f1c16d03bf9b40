//! Says of one trial of a specimen whether the walls held.

use std::time::Duration;

use seatrial_core::{
    finding::is_deceptive,
    job::{Blame, Ending, Reason},
};
use serde_json::Value;

use super::{End, specimen::Expect};

/// What became of a trial.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// How it ended.
    pub(crate) state: Ending,
    /// Its reason code.
    pub(crate) reason: Reason,
    /// Whose doing.
    pub(crate) blame: Blame,
    /// One sentence, escaped.
    pub(crate) message: String,
    /// What the guest said.
    pub(crate) result: Value,
    /// Bytes that were kept of the run's log.
    pub(crate) log_bytes: usize,
    /// Bytes that were kept of artifacts.
    pub(crate) artifact_bytes: usize,
    /// What people are shown.
    pub(crate) text: String,
    /// What machines are given.
    pub(crate) json: String,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Longest piece of a guest's answer that a verdict quotes.
const QUOTED: usize = 200;

/// The verdict on a trial; `first` is the result of the specimen's first one.
pub(crate) fn judge(expect: &Expect, told: &Told, first: Option<&Value>) -> End {
    let mut end = streams(told).and(ending(expect, told));
    if end == End::Contained {
        end = end.and(sizes(expect, told));
        // Another end that is as good comes without answers.
        if (told.state, told.reason) == (expect.state, expect.reason) {
            end = end.and(answers(expect, told, first));
        }
    }
    end
}

/// No byte of a guest's drives a terminal.
fn streams(told: &Told) -> End {
    for (what, text, colours) in [("the text shown", &told.text, true), ("the JSON", &told.json, false)] {
        if let Some(found) = unsafe_character(text, colours) {
            return End::Escaped(format!("{what} holds the character {}", found.escape_unicode()));
        }
    }
    End::Contained
}

/// The first character that a terminal would obey or hide. Colours are of our own making: SGR and nothing else.
fn unsafe_character(text: &str, colours: bool) -> Option<char> {
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character == '\u{1b}' && colours {
            let after = rest.as_str();
            let sequence = after.strip_prefix('[').and_then(|tail| {
                let end = tail.find(|c: char| !c.is_ascii_digit() && c != ';')?;
                tail[end..].strip_prefix('m')
            });
            match sequence {
                Some(tail) => rest = tail.chars(),
                None => return Some(character),
            }
        } else if (character.is_control() && character != '\n') || is_deceptive(character) {
            return Some(character);
        }
    }
    None
}

fn ending(expect: &Expect, told: &Told) -> End {
    let is = format!("{} {}", told.state, told.reason);
    let as_asked = (told.state, told.reason, told.blame) == (expect.state, expect.reason, expect.blame);
    if as_asked || expect.or.contains(&is) {
        return match &expect.message {
            // Another end that is as good is told in other words.
            Some(words) if as_asked && !told.message.contains(words.as_str()) => {
                wrong(told, format!("'{words}' is not said"))
            }
            _ => End::Contained,
        };
    }
    let wanted = format!("{} {} ({:?})", expect.state, expect.reason, expect.blame);
    wrong(told, format!("{is} ({:?}) and not {wanted}", told.blame))
}

/// A trial that ended in another way than it must. Whether something got out depends on who ended it.
fn wrong(told: &Told, what: String) -> End {
    let told_more = format!("{what}: {}", told.message);
    match told.state {
        Ending::Succeeded | Ending::Failed => End::Escaped(told_more),
        // Somebody else was quicker than the attack: a rule, a limit of time, a fault of ours.
        Ending::Rejected | Ending::Errored | Ending::TimedOut | Ending::Cancelled | Ending::Expired => {
            End::NotRun(told_more)
        }
    }
}

fn answers(expect: &Expect, told: &Told, first: Option<&Value>) -> End {
    let mut end = End::Contained;
    for (key, wanted) in &expect.result {
        end = end.and(match told.result.get(key) {
            None => End::NotRun(format!("the guest says nothing of '{key}'")),
            Some(found) if found == wanted => End::Contained,
            Some(found) if is_absent(expect, key, found) => nothing_there(key),
            Some(found) => End::Escaped(format!("'{key}' is {} and not {wanted}", quoted(found))),
        });
    }
    for key in &expect.refused {
        end = end.and(match told.result.get(key) {
            None => End::NotRun(format!("the guest says nothing of '{key}'")),
            Some(found) if is_absent(expect, key, found) => nothing_there(key),
            Some(found) if found.as_u64().is_some_and(|errno| errno != 0) => End::Contained,
            Some(found) => End::Escaped(format!("'{key}' was not refused: {}", quoted(found))),
        });
    }
    if expect.same_as_first && first != Some(&told.result) {
        let first = first.map_or_else(|| "nothing".to_owned(), quoted);
        end = end.and(End::Escaped(format!(
            "the result is {} and was {first} before",
            quoted(&told.result)
        )));
    }
    if expect.differs_from_first && first == Some(&told.result) {
        end = end.and(End::Escaped(format!("the result is {} again", quoted(&told.result))));
    }
    end
}

fn is_absent(expect: &Expect, key: &str, found: &Value) -> bool {
    let absent = expect.absent.get(key);
    absent.is_some_and(|errors| found.as_u64().is_some_and(|errno| errors.contains(&errno)))
}

fn nothing_there(key: &str) -> End {
    End::NotRun(format!("this kernel has nothing to try '{key}' on"))
}

/// The guest's words are JSON, and so without control characters; still they are bounded.
fn quoted(value: &Value) -> String {
    let text = value.to_string();
    let cut: String = text.chars().take(QUOTED).collect();
    seatrial_core::finding::escape_untrusted(&cut)
}

fn sizes(expect: &Expect, told: &Told) -> End {
    let mut end = End::Contained;
    if let Some(max) = expect.max_log_bytes
        && told.log_bytes > max
    {
        end = end.and(End::Escaped(format!("{} bytes of log were kept", told.log_bytes)));
    }
    if let Some(max) = expect.max_artifact_bytes {
        end = end.and(match told.artifact_bytes {
            0 => End::NotRun("no artifact was kept".to_owned()),
            kept if kept > max => End::Escaped(format!("{kept} bytes of artifacts were kept")),
            _ => End::Contained,
        });
    }
    if let Some(max) = expect.within_s
        && told.took.as_secs_f64() > max
    {
        let took = told.took.as_secs_f64();
        end = end.and(End::Escaped(format!("it took {took:.1} s and not {max} at most")));
    }
    for piece in &expect.shows {
        if !told.text.contains(piece.as_str()) {
            end = end.and(End::NotRun(format!("what is shown does not hold '{piece}'")));
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(state: Ending, reason: Reason, blame: Blame) -> Told {
        Told {
            state,
            reason,
            blame,
            message: "said".to_owned(),
            result: json!({"a": 1, "b": 0, "c": 97}),
            log_bytes: 10,
            artifact_bytes: 0,
            text: "\u{1b}[1;32mfine\u{1b}[0m\n".to_owned(),
            json: "{}".to_owned(),
            took: Duration::from_secs(3),
        }
    }

    fn well() -> Told {
        told(Ending::Succeeded, Reason::Ok, Blame::Nobody)
    }

    fn expect(more: &str) -> Expect {
        toml::from_str(&format!(
            "state = \"succeeded\"\nreason = \"ok\"\nblame = \"nobody\"\n{more}"
        ))
        .unwrap()
    }

    #[test]
    fn an_attack_that_met_its_wall_is_contained() {
        assert_eq!(judge(&expect("[result]\na = 1"), &well(), None), End::Contained);
        assert_eq!(judge(&expect("refused = [\"a\"]"), &well(), None), End::Contained);
    }

    #[test]
    fn what_a_wall_let_through_escaped() {
        for more in [
            "[result]\nb = 1",
            "refused = [\"b\"]",
            "max_log_bytes = 9",
            "within_s = 2.5",
            "same_as_first = true",
        ] {
            let end = judge(&expect(more), &well(), Some(&json!(2)));
            assert!(matches!(end, End::Escaped(_)), "{more}: {end:?}");
        }
        let again = judge(&expect("differs_from_first = true"), &well(), Some(&well().result));
        assert!(matches!(again, End::Escaped(_)), "{again:?}");
        let failed = told(Ending::Failed, Reason::ExitCode, Blame::Guest);
        assert!(matches!(judge(&expect(""), &failed, None), End::Escaped(_)));
    }

    #[test]
    fn what_did_not_take_place_is_never_contained() {
        for more in [
            "[result]\nunknown = 1",
            "refused = [\"unknown\"]",
            "[result]\nc = 1\n[absent]\nc = [97]",
            "refused = [\"c\"]\n[absent]\nc = [97]",
            "max_artifact_bytes = 5",
            "shows = [\"words\"]",
        ] {
            let end = judge(&expect(more), &well(), None);
            assert!(matches!(end, End::NotRun(_)), "{more}: {end:?}");
        }
        for (state, reason, blame) in [
            (Ending::Rejected, Reason::FindingsBlock, Blame::Policy),
            (Ending::Errored, Reason::EngineGone, Blame::Platform),
            (Ending::TimedOut, Reason::BuildTime, Blame::Quota),
            (Ending::Cancelled, Reason::Cancelled, Blame::Nobody),
        ] {
            let end = judge(&expect(""), &told(state, reason, blame), None);
            assert!(matches!(end, End::NotRun(_)), "{state}: {end:?}");
        }
    }

    #[test]
    fn a_refusal_for_another_reason_proves_nothing() {
        let mut expect = expect("message = \"ST009\"");
        (expect.state, expect.reason, expect.blame) = (Ending::Rejected, Reason::FindingsBlock, Blame::Policy);
        let mut refused = told(Ending::Rejected, Reason::FindingsBlock, Blame::Policy);
        assert!(matches!(judge(&expect, &refused, None), End::NotRun(_)));
        refused.message = "ST009 blocks".to_owned();
        assert_eq!(judge(&expect, &refused, None), End::Contained);
    }

    #[test]
    fn another_end_may_be_as_good() {
        let failed = told(Ending::Failed, Reason::ExitCode, Blame::Guest);
        let expect = expect("or = [\"failed exit_code\"]\n[result]\nunknown = 1");
        assert_eq!(judge(&expect, &failed, None), End::Contained);
    }

    #[test]
    fn a_character_that_drives_a_terminal_got_out() {
        for text in [
            "\u{1b}]0;x",
            "\u{1b}[2J",
            "\u{9b}2J",
            "a\rb",
            "\u{202e}",
            "\u{1b}[31",
            "\t",
        ] {
            let mut shown = well();
            shown.text = text.to_owned();
            assert!(matches!(judge(&expect(""), &shown, None), End::Escaped(_)), "{text:?}");
        }
        let mut given = well();
        given.json = "\u{1b}[0m".to_owned();
        assert!(matches!(judge(&expect(""), &given, None), End::Escaped(_)));
    }
}
