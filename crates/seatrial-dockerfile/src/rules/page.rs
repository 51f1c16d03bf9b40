//! A rule as a page for people: `docs/rules/` holds them, made of the catalogue's own words.

use std::fmt::Write as _;

use seatrial_core::finding::{Rule, escape_untrusted};

/// Characters of a line of an example that are shown; one rule's example is a line that is too long.
const MAX_LINE: usize = 200;

/// The page of a rule, in Markdown.
#[must_use]
pub fn page(rule: &Rule) -> String {
    let mut page = format!("# {}: {}\n\n", rule.id, rule.title);
    // Writing to a String cannot fail.
    let _ = writeln!(page, "Level **{}**, severity {}.\n", rule.level, rule.severity);
    let _ = writeln!(page, "{}\n", rule.reason);
    let _ = writeln!(page, "**What to do.** {}\n", rule.remedy);
    let _ = writeln!(
        page,
        "Found:\n\n{}\nNot found:\n\n{}",
        block(rule.bad),
        block(rule.good)
    );
    for (title, names) in [("Concerns", rule.concerns), ("In other tools", rule.aliases)] {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let _ = writeln!(page, "{title}: {}\n", names.join(", "));
        }
    }
    let _ = writeln!(
        page,
        "An operator may set another level (`analysis.levels.{0}`) or waive it in the policy; the author of a file cannot.",
        rule.id
    );
    page
}

/// All rules as a table, in Markdown.
#[must_use]
pub fn index() -> String {
    let mut rules: Vec<_> = super::rules().collect();
    rules.sort_by_key(|rule| rule.id);
    let mut page = "# Rules\n\nErrors block by default. `seatrial rules ID` prints a rule's page.\n\n\
                    | rule | what | level | severity | in other tools |\n|---|---|---|---|---|\n"
        .to_owned();
    for rule in rules {
        let _ = writeln!(
            page,
            "| [{0}]({0}.md) | {1} | {2} | {3} | {4} |",
            rule.id,
            rule.title.replace('|', "\\|"),
            rule.level,
            rule.severity,
            rule.aliases.join(", ")
        );
    }
    page
}

fn block(example: &str) -> String {
    let lines: Vec<String> = example
        .lines()
        .map(|line| match line.char_indices().nth(MAX_LINE) {
            Some((cut, _)) => format!("{}… ({} bytes)", escape_untrusted(&line[..cut]), line.len()),
            // Some show what no screen should print.
            None => line.split('\t').map(escape_untrusted).collect::<Vec<_>>().join("\t"),
        })
        .collect();
    format!("```dockerfile\n{}\n```\n", lines.join("\n"))
}
