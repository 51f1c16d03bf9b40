//! The last lines of a trial, for people: how it ended, whose doing, what to do, the evidence.

use std::fmt::Write as _;

use seatrial_core::{
    egress::{EgressRow, EgressVerdict, EgressView},
    finding::{Severity, escape_untrusted},
    job::{Blame, Ending, Stage},
    scanner::{DatabaseKind, Vulnerability},
    view::{JobView, ScanView, StateWord},
    walls::{Level, Walls},
};

/// Most vulnerabilities that are named one by one.
const NAMED: usize = 10;

/// The last lines. The very last one is the result, when there is one.
pub(crate) fn text(job: &JobView, quiet: bool) -> String {
    let mut out = String::new();
    let StateWord::Ended(ending) = job.state else {
        return out;
    };
    if !quiet {
        evidence(&mut out, job);
    }
    let word = ending.to_string().replace('_', " ");
    let (mark, colour) = match ending {
        Ending::Succeeded => ("✓", "32"),
        Ending::Cancelled | Ending::Expired => ("–", "33"),
        _ => ("✗", "31"),
    };
    let reason = job.reason.map(|reason| reason.to_string()).unwrap_or_default();
    let _ = write!(out, "\x1b[1;{colour}m{mark} {word}\x1b[0m");
    if ending != Ending::Succeeded {
        let _ = write!(out, " ({reason}, {})", blame(job.blame));
    }
    // A document of a server may be anything: escaping what is escaped already changes nothing.
    let message = job.message.as_deref().unwrap_or_default();
    let _ = writeln!(out, ": {}", escape_untrusted(message));
    if let Some(remedy) = &job.remedy {
        let _ = writeln!(out, "  help: {}", escape_untrusted(remedy));
    }
    if let Some(result) = &job.result {
        if !quiet {
            let _ = writeln!(
                out,
                "  result {} ({} bytes, {})",
                escape_untrusted(&result.path),
                result.bytes,
                result.sha256
            );
        }
        let _ = writeln!(out, "{}", escape_untrusted(&result.value.to_string()));
    }
    out
}

fn evidence(out: &mut String, job: &JobView) {
    let _ = writeln!(out, "  job    {}", job.id);
    if let Some(image) = &job.image {
        let bases: Vec<String> = image.bases.iter().map(|base| escape_untrusted(&base.name)).collect();
        let on = if bases.is_empty() {
            "scratch".to_owned()
        } else {
            bases.join(", ")
        };
        let _ = writeln!(
            out,
            "  image  sha256:{} on {on}, {} new bytes",
            image.id.short(),
            image.new_bytes
        );
    }
    if let Some(scan) = &job.scan {
        scanned(out, scan);
    }
    if let Some(walls) = &job.walls {
        let _ = writeln!(
            out,
            "  walls  {}, {}, {}, network {}, {}, {} root, user {}",
            levels(job),
            escape_untrusted(&walls.runtime),
            if walls.user_namespace {
                "user namespace"
            } else {
                "NO user namespace"
            },
            escape_untrusted(&walls.network),
            // Whole digests are for the document; a line should fit on a screen.
            escape_untrusted(walls.seccomp.split(" sha256:").next().unwrap_or_default()),
            if walls.read_only_root { "read-only" } else { "WRITABLE" },
            escape_untrusted(&walls.user),
        );
    }
    for (stage, seen) in &job.egress {
        asked(out, *stage, seen);
    }
    for (stage, usage) in &job.usage {
        let number = |value: Option<f64>, unit: &str| {
            value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.2} {unit}"))
        };
        let memory = usage.memory_peak.map_or_else(
            || "unknown".to_owned(),
            |bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        );
        let _ = writeln!(
            out,
            "  {stage:<6} {}, cpu {}, memory peak {memory}",
            number(usage.wall_s, "s"),
            number(usage.cpu_s, "s")
        );
    }
    for artifact in &job.artifacts {
        let name = escape_untrusted(&artifact.name);
        match (&artifact.skipped, artifact.bytes) {
            (Some(why), _) => {
                let _ = writeln!(out, "  left   {name}: {}", escape_untrusted(why));
            }
            (None, bytes) => {
                let _ = writeln!(out, "  kept   {name} ({} bytes)", bytes.unwrap_or_default());
            }
        }
    }
    if !job.log_tail.is_empty() {
        let _ = writeln!(out, "  last lines of the log:");
        for line in &job.log_tail {
            let _ = writeln!(out, "  | {}", escape_untrusted(line));
        }
    }
}

/// `build userns, run gvisor`: the levels that were proven.
fn levels(job: &JobView) -> String {
    let level = |walls: Option<&Walls>| walls.and_then(|walls| walls.level).map_or("unproven", Level::as_str);
    let (build, run) = (level(job.build_walls.as_ref()), level(job.walls.as_ref()));
    if build == run {
        return format!("level {run}");
    }
    format!("build {build}, run {run}")
}

/// Requests shown one by one; all of them are in the document.
const SHOWN_REQUESTS: usize = 20;

/// What a stage asked of the proxy: how much in all, and each request that was refused before those that were not.
fn asked(out: &mut String, stage: Stage, seen: &EgressView) {
    let refused = |row: &&EgressRow| row.verdict == EgressVerdict::Refused;
    let count = seen.requests.iter().filter(refused).count();
    let bytes: u64 = seen.requests.iter().map(|row| row.bytes_down).sum();
    let all = seen.requests.len() as u64 + seen.more;
    let _ = writeln!(
        out,
        "  egress {stage}: {all} requests, {count} refused, {bytes} bytes came"
    );
    let others = seen.requests.iter().filter(|row| !refused(row));
    for row in seen.requests.iter().filter(refused).chain(others).take(SHOWN_REQUESTS) {
        let _ = writeln!(
            out,
            "         {} {} {}:{}, {} bytes{}",
            match row.verdict {
                EgressVerdict::Allowed => "allowed",
                EgressVerdict::Refused => "REFUSED",
                EgressVerdict::Failed => "failed ",
            },
            escape_untrusted(&row.method),
            escape_untrusted(&row.host),
            row.port,
            row.bytes_down,
            row.reason
                .as_deref()
                .map(|why| format!(": {}", escape_untrusted(why)))
                .unwrap_or_default(),
        );
    }
}

fn scanned(out: &mut String, scan: &ScanView) {
    let counts: Vec<String> = Severity::WORST_FIRST
        .iter()
        .filter_map(|severity| scan.counts.get(severity).map(|count| format!("{count} {severity}")))
        .collect();
    let counts = if counts.is_empty() {
        "no vulnerabilities".to_owned()
    } else {
        counts.join(", ")
    };
    let os = scan
        .os
        .as_deref()
        .map_or_else(|| "no operating system".to_owned(), escape_untrusted);
    let _ = writeln!(
        out,
        "  scan   {counts}; {} packages, {os}; {}",
        scan.packages,
        escape_untrusted(&scan.scanner)
    );
    let made = scan.database_updated_at.strftime("%Y-%m-%d");
    let _ = match scan.database_kind {
        DatabaseKind::Real => writeln!(out, "  db     made {made}"),
        DatabaseKind::Fixture => writeln!(
            out,
            "  db     FIXTURE made {made}: says nothing about real vulnerabilities (scan.database_kind: fixture)"
        ),
    };
    for blocking in scan.blocking.iter().take(NAMED) {
        let _ = writeln!(out, "  blocks {}", vulnerability(blocking));
    }
    if scan.blocking.len() > NAMED {
        let _ = writeln!(out, "  blocks {} more", scan.blocking.len() - NAMED);
    }
    for secret in scan.secrets.iter().take(NAMED) {
        let _ = writeln!(
            out,
            "  secret {} in {} at line {}",
            escape_untrusted(&secret.rule),
            escape_untrusted(&secret.path),
            secret.line
        );
    }
}

fn vulnerability(found: &Vulnerability) -> String {
    let fixed = found.fixed.as_deref().map_or_else(
        || "not fixed".to_owned(),
        |version| format!("fixed in {}", escape_untrusted(version)),
    );
    let kept = if found.kept_from_base {
        ", of the base, hidden by the image"
    } else {
        ""
    };
    format!(
        "{} {} in {} {} ({fixed}{kept}): {}",
        escape_untrusted(&found.id),
        found.severity,
        escape_untrusted(&found.package),
        escape_untrusted(&found.installed),
        escape_untrusted(&found.title)
    )
}

fn blame(blame: Option<Blame>) -> &'static str {
    match blame {
        Some(Blame::Guest) => "the Dockerfile's doing",
        Some(Blame::Policy) => "the policy's decision",
        Some(Blame::Quota) => "a limit",
        Some(Blame::Platform) => "our fault, not the Dockerfile's",
        Some(Blame::Upstream) => "an upstream's fault",
        Some(Blame::Nobody) | None => "nobody's fault",
    }
}
