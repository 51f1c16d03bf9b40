//! What process trees use, out of `/proc`.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

/// Ticks of a processor's clock in a second: what Linux shows in `/proc` on every platform of today.
const TICKS: f64 = 100.0;

/// A process that is part of what is measured, with all that it started.
#[derive(Clone)]
pub(crate) struct Part {
    /// As shown.
    pub(crate) name: String,
    /// Its root.
    pub(crate) pid: u32,
}

/// Processor seconds that each part has used so far.
pub(crate) fn cpu(parts: &[Part]) -> Result<BTreeMap<String, f64>> {
    let children = children()?;
    let used = parts.iter().map(|part| {
        let ticks: f64 = tree(part.pid, &children).into_iter().filter_map(ticks).sum();
        (part.name.clone(), ticks / TICKS)
    });
    Ok(used.collect())
}

/// Proportional set size of each part, in MiB: shared pages are counted once.
pub(crate) fn memory(parts: &[Part]) -> Result<BTreeMap<String, f64>> {
    let children = children()?;
    let used = parts.iter().map(|part| {
        let kib: f64 = tree(part.pid, &children).into_iter().filter_map(pss).sum();
        (part.name.clone(), kib / 1024.0)
    });
    Ok(used.collect())
}

/// Seconds that all processors of the machine were busy, and that they had, since it started.
pub(crate) fn machine() -> Result<(f64, f64)> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let first = text.lines().next().unwrap_or_default();
    let fields: Vec<f64> = first
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|field| field.parse().ok())
        .collect();
    let all: f64 = fields.iter().sum();
    // Idle, and idle that waits for a disk.
    let idle: f64 = fields.iter().skip(3).take(2).sum();
    Ok(((all - idle) / TICKS, all / TICKS))
}

fn children() -> Result<BTreeMap<u32, Vec<u32>>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    Ok(children)
}

fn tree(root: u32, children: &BTreeMap<u32, Vec<u32>>) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        found.extend(children.get(pid).into_iter().flatten().copied().collect::<Vec<_>>());
        at += 1;
    }
    found
}

/// The fields of `/proc/PID/stat` after the command: state, parent, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// With those of children that ended: a Redis that has rewritten its file has used what its child used.
fn ticks(pid: u32) -> Option<f64> {
    let fields = stat(pid)?;
    let [user, system, of_children, system_of_children] = fields.get(11..15)? else {
        return None;
    };
    let all = [user, system, of_children, system_of_children].map(|field| field.parse::<f64>());
    all.into_iter().sum::<Result<f64, _>>().ok()
}

fn pss(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
