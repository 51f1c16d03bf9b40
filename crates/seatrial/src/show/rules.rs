//! The rules, as a list or one by one.

use std::fmt::Write as _;

use seatrial_core::finding::{Rule, escape_untrusted};
use serde_json::{Value, json};

/// `{"rules": [...]}`, in the order given.
pub(crate) fn json(rules: &[&'static Rule]) -> Value {
    json!({ "rules": rules })
}

/// One line a rule; with `detailed`, why it is there, what to do and what others call it.
pub(crate) fn text(rules: &[&'static Rule], detailed: bool) -> String {
    let mut shown = String::new();
    for (index, rule) in rules.iter().enumerate() {
        if detailed && index > 0 {
            shown.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = if detailed {
            detail(&mut shown, rule)
        } else {
            writeln!(
                shown,
                "{}  {:5}  {:8}  {}",
                rule.id, rule.level, rule.severity, rule.title
            )
        };
    }
    shown
}

fn detail(shown: &mut String, rule: &Rule) -> std::fmt::Result {
    writeln!(shown, "{}: {}", rule.id, rule.title)?;
    writeln!(shown, "  level     {} (severity {})", rule.level, rule.severity)?;
    writeln!(shown, "  why       {}", rule.reason)?;
    writeln!(shown, "  remedy    {}", rule.remedy)?;
    if !rule.concerns.is_empty() {
        writeln!(shown, "  concerns  {}", rule.concerns.join(", "))?;
    }
    if !rule.aliases.is_empty() {
        writeln!(shown, "  aliases   {}", rule.aliases.join(", "))?;
    }
    for (word, example) in [("bad", rule.bad), ("good", rule.good)] {
        // Some show characters that nobody should print.
        let lines = example.lines().map(escape_untrusted).collect::<Vec<_>>();
        writeln!(shown, "\n  {word}:\n    {}", lines.join("\n    "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use seatrial_core::finding::{Level, Severity};

    use super::*;

    static RULE: Rule = Rule {
        id: "ST015",
        title: "Base image outside the allow-list",
        level: Level::Error,
        severity: Severity::High,
        reason: "because.",
        remedy: "Do not.",
        concerns: &["C04"],
        aliases: &["hadolint:DL3026"],
        bad: "FROM evil.example/a\n",
        good: "FROM debian\n",
    };

    #[test]
    fn a_list_has_one_line_a_rule() {
        assert_eq!(
            text(&[&RULE], false),
            "ST015  error  high      Base image outside the allow-list\n"
        );
    }

    #[test]
    fn a_rule_is_explained_with_its_names_elsewhere() {
        assert_eq!(
            text(&[&RULE], true),
            "ST015: Base image outside the allow-list\n  level     error (severity high)\n  why       because.\n  remedy    Do not.\n  concerns  C04\n  aliases   hadolint:DL3026\n\n  bad:\n    FROM evil.example/a\n\n  good:\n    FROM debian\n"
        );
    }

    #[test]
    fn the_json_holds_every_field_of_a_rule() {
        assert_eq!(
            json(&[&RULE]),
            serde_json::json!({"rules": [{
                "id": "ST015", "title": "Base image outside the allow-list", "level": "error",
                "severity": "high", "reason": "because.", "remedy": "Do not.",
                "concerns": ["C04"], "aliases": ["hadolint:DL3026"],
                "bad": "FROM evil.example/a\n", "good": "FROM debian\n",
            }]})
        );
    }
}
