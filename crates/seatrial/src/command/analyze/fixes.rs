//! Corrections: made in memory, judged again, then shown or written.

use std::{collections::BTreeMap, io::Write as _, path::Path};

use anyhow::{Context as _, Result, bail};
use seatrial_core::finding::escape_untrusted;
use seatrial_dockerfile::fix;
use seatrial_policy::Policy;
use similar::TextDiff;

use super::Judged;
use crate::cli::analyze::AnalyzeArgs;

/// Corrections may make room for others; a file that is not at rest after so many rounds is left there.
const ROUNDS: usize = 8;
/// Lines around a change in a diff.
const AROUND: usize = 3;

/// Corrects a file as far as it can be: shows the difference, writes it, or both. What comes back is the file as it
/// is now on the disk.
pub(super) fn mend(policy: &Policy, path: &Path, file: Judged, args: &AnalyzeArgs) -> Result<Judged> {
    let mended = mended(policy, &file);
    let is_stdin = path == Path::new("-");
    if args.diff && mended.text != file.text {
        super::super::print(&diff(&file, &mended));
    }
    if !args.fix {
        return Ok(file);
    }
    if is_stdin && !args.diff {
        let mut out = std::io::stdout().lock();
        out.write_all(&mended.text).context("cannot print the corrected text")?;
    } else if !is_stdin && mended.text != file.text {
        write(path, &file.text, &mended.text)?;
    }
    Ok(mended)
}

/// The file after all corrections that hold: each round is judged again, and one after which a rule finds more than
/// before, or there is an instruction more, is not kept. What a waiver lets pass is not corrected: the operator wants it so.
fn mended(policy: &Policy, file: &Judged) -> Judged {
    let mut now = file.clone();
    for _ in 0..ROUNDS {
        let Ok(text) = std::str::from_utf8(&now.text) else {
            return now;
        };
        let fixed = fix::apply(text, &now.findings());
        if fixed == text {
            return now;
        }
        let next = Judged::of(policy, now.path.clone(), fixed.into_bytes());
        let before = by_rule(&now);
        let grew = by_rule(&next)
            .into_iter()
            .any(|(rule, number)| number > before.get(rule).copied().unwrap_or_default());
        if grew || instructions(&next) > instructions(&now) {
            return now;
        }
        now = next;
    }
    now
}

fn instructions(file: &Judged) -> usize {
    seatrial_dockerfile::parse(&file.text).dockerfile.instructions.len()
}

fn by_rule(file: &Judged) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for finding in &file.analysis.findings {
        *counts.entry(&*finding.rule).or_default() += 1;
    }
    counts
}

fn diff(old: &Judged, new: &Judged) -> String {
    let (before, after) = (String::from_utf8_lossy(&old.text), String::from_utf8_lossy(&new.text));
    let path = escape_untrusted(old.path.trim_start_matches("./").trim_start_matches('/'));
    let diff = TextDiff::from_lines(before.as_ref(), after.as_ref());
    let unified = diff
        .unified_diff()
        .context_radius(AROUND)
        .header(&format!("a/{path}"), &format!("b/{path}"))
        .to_string();
    // The text is a stranger's: what no screen should print is escaped, line by line.
    unified
        .split_inclusive('\n')
        .map(|line| {
            // As it ends in the file, or the difference could not be applied to it.
            let (line, end) = match line.strip_suffix('\n') {
                Some(line) => line.strip_suffix('\r').map_or((line, "\n"), |line| (line, "\r\n")),
                None => (line, ""),
            };
            let line: Vec<_> = line.split('\t').map(escape_untrusted).collect();
            format!("{}{end}", coloured(&line.join("\t")))
        })
        .collect()
}

fn coloured(line: &str) -> String {
    let style = match line.as_bytes() {
        [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] => anstyle::Style::new().bold(),
        [b'+', ..] => anstyle::AnsiColor::Green.on_default(),
        [b'-', ..] => anstyle::AnsiColor::Red.on_default(),
        [b'@', ..] => anstyle::AnsiColor::Cyan.on_default(),
        _ => return line.to_owned(),
    };
    format!("{style}{line}{style:#}")
}

/// Puts the new text in the place of the old one in one step, with the same permissions. A file that was changed in
/// the meantime is left alone.
fn write(path: &Path, old: &[u8], new: &[u8]) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    // A link stays a link.
    let real = path.canonicalize().with_context(failed)?;
    let folder = real.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(".seatrial-")
        .tempfile_in(folder)
        .with_context(failed)?;
    file.write_all(new).with_context(failed)?;
    let permissions = std::fs::metadata(&real).with_context(failed)?.permissions();
    file.as_file().set_permissions(permissions).with_context(failed)?;
    file.as_file().sync_all().with_context(failed)?;
    if std::fs::read(&real).with_context(failed)? != old {
        bail!(
            "{} was changed while it was judged: nothing was written",
            path.display()
        );
    }
    file.persist(&real).with_context(failed)?;
    Ok(())
}
