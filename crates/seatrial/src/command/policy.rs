//! `seatrial policy`: what is allowed here.

mod diff;
mod explain;
mod test;

use std::{fmt::Write as _, path::PathBuf};

use anyhow::Result;
use jiff::Timestamp;
use seatrial_core::{finding::escape_untrusted, view::WaivedView};
use seatrial_policy::{Composed, Origin};

use crate::{
    cli::{Cli, policy::PolicyCommand},
    config::Config,
};

/// One line about a waiver that would have helped and has run out.
pub(crate) fn ran_out(waiver: &WaivedView) -> String {
    let words = [&waiver.rule, &waiver.owner, &waiver.reason].map(|text| escape_untrusted(text));
    let [rule, owner, reason] = &words;
    format!(
        "  note: the waiver of {rule} by {owner} ({reason}) ended on {}: it lets nothing pass any more",
        waiver.expires
    )
}

/// Shows, checks, explains, tests or compares policies.
pub(crate) async fn run(cli: &Cli, config: &Config, what: &PolicyCommand) -> Result<u8> {
    match what {
        PolicyCommand::Show { default: true, .. } => super::print(seatrial_policy::DEFAULT_TOML),
        PolicyCommand::Show {
            policy,
            default: false,
            origins,
        } => {
            let Composed { policy, origins: from } = super::composed(config, policy)?;
            super::print(&if *origins { table(&from) } else { policy.to_toml() });
        }
        PolicyCommand::Check { files } => check(files)?,
        PolicyCommand::Schema => super::print(&seatrial_policy::json_schema()),
        PolicyCommand::Explain(args) => return explain::run(cli, config, args).await,
        PolicyCommand::Test(args) => return test::run(cli, config, args),
        PolicyCommand::Diff(args) => return diff::run(args),
    }
    Ok(0)
}

fn check(files: &[PathBuf]) -> Result<()> {
    let policy = super::compose(files)?.policy;
    crate::rego::try_out(&policy)?;
    for waiver in policy.expired_waivers(Timestamp::now()) {
        super::print(&format!(
            "warning: the waiver of {} expired on {}; owner: {}",
            waiver.rule, waiver.expires, waiver.owner
        ));
    }
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    super::print(&format!("{}: the policy can be used", names.join(" + ")));
    Ok(())
}

/// Each value, and where it comes from.
fn table(origins: &[Origin]) -> String {
    let mut out = String::new();
    for origin in origins {
        let _ = write!(out, "{} = {}", origin.path, origin.value);
        let _ = match (&origin.file, origin.line) {
            (Some(file), Some(line)) => writeln!(out, "  # {file}:{line}"),
            _ => writeln!(out, "  # default"),
        };
    }
    out
}
