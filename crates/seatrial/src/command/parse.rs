//! `seatrial parse`: how a file is read.

use anyhow::Result;
use seatrial_core::job::Ending;

use crate::{
    cli::{OutputFormat, ParseArgs},
    show,
};

/// Largest file that is read, in bytes: more than the parser's own limit, so that it can say so.
const MAX: u64 = 4 << 20;

/// Shows a file as it is read; 3 when it does not parse.
pub(crate) fn run(args: &ParseArgs) -> Result<u8> {
    let text = super::read_bounded(&args.file, MAX)?;
    let parsed = seatrial_dockerfile::parse(&text);
    match args.format {
        OutputFormat::Json => super::print_json(&seatrial_dockerfile::parse_report(&parsed))?,
        OutputFormat::Text if parsed.errors.is_empty() => {
            super::print(&seatrial_dockerfile::render(&parsed.dockerfile))
        }
        OutputFormat::Text => {
            let findings = seatrial_dockerfile::rules::parse_findings(&parsed);
            super::print(&show::findings::text(
                &args.file.display().to_string(),
                &text,
                &findings,
            ));
        }
    }
    Ok(if parsed.errors.is_empty() {
        0
    } else {
        Ending::Rejected.exit_code()
    })
}
