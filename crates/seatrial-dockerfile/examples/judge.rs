//! Judges files and prints `{"findings": [...]}` for each, in a line: the judge without the program around it, to
//! measure rules with while they are written. `--rules` prints each rule's names in other tools.

use std::io::Write as _;

use seatrial_dockerfile::{
    parse,
    rules::{self, Context},
};

fn main() -> std::io::Result<()> {
    let context = Context {
        allowed: &|name| name.starts_with("docker.io/"),
        pinned: false,
    };
    for path in std::env::args_os().skip(1) {
        if path == "--rules" {
            let aliases: std::collections::BTreeMap<_, _> =
                rules::rules().map(|rule| (rule.id, rule.aliases)).collect();
            writeln!(std::io::stdout(), "{}", serde_json::json!(aliases))?;
            continue;
        }
        let text = std::fs::read(&path)?;
        let findings = rules::analyze(&text, &parse(&text), &context);
        writeln!(std::io::stdout(), "{}", serde_json::json!({ "findings": findings }))?;
    }
    Ok(())
}
