//! `seatrial rules`: what is judged.

use anyhow::{Result, bail};

use crate::{
    cli::{OutputFormat, RulesArgs},
    show,
};

/// Lists the rules, or explains one.
pub(crate) fn run(args: &RulesArgs) -> Result<u8> {
    let mut rules: Vec<_> = seatrial_dockerfile::rules::rules().collect();
    rules.sort_by_key(|rule| rule.id);
    if let Some(id) = &args.id {
        rules.retain(|rule| rule.id.eq_ignore_ascii_case(id));
        if rules.is_empty() {
            bail!(
                "there is no rule {}; `seatrial rules` lists them all",
                id.escape_debug()
            );
        }
    }
    match args.format {
        OutputFormat::Json => super::print_json(&show::rules::json(&rules))?,
        OutputFormat::Text => super::print(&show::rules::text(&rules, args.id.is_some())),
    }
    Ok(0)
}
