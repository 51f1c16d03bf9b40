//! Specimens: hostile Dockerfiles with what must happen to them, out of the binary.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result, bail};
use seatrial_core::{
    job::{Blame, Ending, Reason},
    walls::Level,
};
use seatrial_pipeline::case::ResultPath;
use serde::Deserialize;
use serde_json::Value;

include!(concat!(env!("OUT_DIR"), "/specimens.rs"));

/// The policy of those that bring none of their own.
const SHARED_POLICY: &str = "policy.toml";
/// Longest text that repetition may make: more than any policy allows, so that "too long" can be tried too.
const MAX_TEXT: usize = 4 << 20;

/// One attack.
#[derive(Debug)]
pub(crate) struct Specimen {
    /// The name of its folder.
    pub(crate) name: &'static str,
    /// What it says of itself.
    pub(crate) about: About,
    /// The policy's text.
    pub(crate) policy: &'static str,
    /// Where the result is looked for.
    pub(crate) result: ResultPath,
    /// Tar of its folder `context`.
    pub(crate) context: Arc<[u8]>,
    /// Its trials, in order; the first is the Dockerfile.
    pub(crate) trials: Vec<Planned>,
}

/// One trial of a specimen.
#[derive(Debug)]
pub(crate) struct Planned {
    /// The Dockerfile.
    pub(crate) text: Vec<u8>,
    /// What must happen.
    pub(crate) expect: Expect,
}

/// `expect.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    /// A line for people.
    pub(crate) why: String,
    /// What it repeats.
    pub(crate) incident: Option<String>,
    /// Another place of the result than `/data/perf.json`.
    result_path: Option<String>,
    /// Its verdict is the scanner's: the policy's word on vulnerabilities counts, and the fixture database is needed.
    #[serde(default)]
    pub(crate) fixture: bool,
    /// Lines of the Dockerfile that stand for many.
    #[serde(default)]
    repeat: Vec<Repeat>,
    expect: Expect,
    /// Trials afterwards, in the same world.
    #[serde(default)]
    then: Vec<Then>,
}

/// A line `# <mark>` of the Dockerfile that stands for many lines.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    mark: String,
    /// `{n}` in it is the number, from 0.
    line: String,
    times: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Then {
    /// Another file of the folder.
    dockerfile: String,
    expect: Expect,
}

/// What must happen to a trial.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    /// How it ends.
    pub(crate) state: Ending,
    /// The reason code.
    pub(crate) reason: Reason,
    /// Whose doing.
    pub(crate) blame: Blame,
    /// Other ends that are as good, as `"state reason"`.
    #[serde(default)]
    pub(crate) or: Vec<String>,
    /// Part of the message.
    pub(crate) message: Option<String>,
    /// Parts of what people are shown.
    #[serde(default)]
    pub(crate) shows: Vec<String>,
    /// Most bytes that are kept of the log.
    pub(crate) max_log_bytes: Option<usize>,
    /// Most bytes that are kept of artifacts; none kept is wrong too.
    pub(crate) max_artifact_bytes: Option<usize>,
    /// Longest time, in seconds.
    pub(crate) within_s: Option<f64>,
    /// What the guest found out, key by key: the very error that one of our walls answers with is the proof that
    /// the wall was met, and not that the kernel has no such thing.
    #[serde(default)]
    pub(crate) result: BTreeMap<String, Value>,
    /// Keys of what must be some error, where the kernel's version decides which.
    #[serde(default)]
    pub(crate) refused: Vec<String>,
    /// Errors, key by key, with which this kernel says that it has no such thing: then nothing was tried.
    #[serde(default)]
    pub(crate) absent: BTreeMap<String, Vec<u64>>,
    /// The result is the one of the first trial.
    #[serde(default)]
    pub(crate) same_as_first: bool,
    /// The result is another one than that of the first trial.
    #[serde(default)]
    pub(crate) differs_from_first: bool,
    /// What differs at a level.
    #[serde(default)]
    pub(crate) at: BTreeMap<Level, At>,
}

/// What differs at a level.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct At {
    /// It cannot be tried here, and why.
    not: Option<String>,
    /// Other ends that are as good here.
    #[serde(default)]
    or: Vec<String>,
    /// Other findings.
    #[serde(default)]
    result: BTreeMap<String, Value>,
    /// Keys of which only some error is known here.
    #[serde(default)]
    refused: Vec<String>,
    /// Errors, key by key, with which the kernel there says that it has no such thing.
    #[serde(default)]
    absent: BTreeMap<String, Vec<u64>>,
    /// Keys that say nothing here.
    #[serde(default)]
    ignore: Vec<String>,
}

impl Expect {
    /// What must happen at this level.
    ///
    /// # Errors
    /// Why it cannot be tried here.
    pub(crate) fn at(&self, level: Level) -> Result<Self, String> {
        let mut expect = self.clone();
        let Some(at) = self.at.get(&level) else {
            return Ok(expect);
        };
        if let Some(why) = &at.not {
            return Err(why.clone());
        }
        expect.or.extend(at.or.iter().cloned());
        for key in at.refused.iter().chain(&at.ignore) {
            expect.result.remove(key);
        }
        expect.refused.retain(|key| !at.ignore.contains(key));
        expect.refused.extend(at.refused.iter().cloned());
        expect.result.extend(at.result.clone());
        expect.absent.extend(at.absent.clone());
        Ok(expect)
    }
}

/// All specimens, by name.
///
/// # Errors
/// One of them cannot be read: a defect of this binary.
pub(crate) fn all() -> Result<Vec<Specimen>> {
    let mut names: Vec<&str> = FILES
        .iter()
        .filter_map(|(path, _)| Some(path.split_once('/')?.0))
        .collect();
    names.dedup();
    names
        .into_iter()
        .map(|name| read(name).with_context(|| format!("the specimen {name} cannot be used")))
        .collect()
}

fn read(name: &'static str) -> Result<Specimen> {
    let about: About = toml::from_str(text(&format!("{name}/expect.toml"))?)?;
    let own = format!("{name}/policy.toml");
    let policy = text(&own).or_else(|_| text(SHARED_POLICY))?;
    let result = match &about.result_path {
        Some(path) => ResultPath::parse(path)?,
        None => ResultPath::default(),
    };
    let mut trials = vec![Planned {
        text: repeated(text(&format!("{name}/Dockerfile"))?, &about.repeat)?.into_bytes(),
        expect: about.expect.clone(),
    }];
    for then in &about.then {
        trials.push(Planned {
            text: text(&format!("{name}/{}", then.dockerfile))?.as_bytes().to_vec(),
            expect: then.expect.clone(),
        });
    }
    Ok(Specimen {
        name,
        policy,
        result,
        context: context(&format!("{name}/context/"))?,
        trials,
        about,
    })
}

/// The policy of the ordinary trials.
pub(crate) fn shared_policy() -> Result<&'static str> {
    text(SHARED_POLICY)
}

fn text(path: &str) -> Result<&'static str> {
    let found = FILES.iter().find(|(name, _)| *name == path);
    let (_, bytes) = found.with_context(|| format!("there is no file {path}"))?;
    Ok(std::str::from_utf8(bytes)?)
}

fn repeated(text: &str, repeats: &[Repeat]) -> Result<String> {
    let mut made = String::new();
    for line in text.split_inclusive('\n') {
        let mark = line.strip_prefix("# ").map(str::trim_end);
        match repeats.iter().find(|repeat| Some(repeat.mark.as_str()) == mark) {
            Some(repeat) if repeat.times.saturating_mul(repeat.line.len()) > MAX_TEXT => {
                bail!("the repetition of '{}' is too long", repeat.mark)
            }
            Some(repeat) => {
                for number in 0..repeat.times {
                    made.push_str(&repeat.line.replace("{n}", &number.to_string()));
                    made.push('\n');
                }
            }
            None => made.push_str(line),
        }
    }
    Ok(made)
}

/// The build context, as `context::pack` writes one. Empty when there is no such folder.
fn context(folder: &str) -> Result<Arc<[u8]>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut any = false;
    for (path, bytes) in FILES {
        let Some(name) = path.strip_prefix(folder) else {
            continue;
        };
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, *bytes)?;
        any = true;
    }
    Ok(if any {
        tar.into_inner()?.into()
    } else {
        Arc::from(&[][..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_specimen_in_the_binary_can_be_read_and_says_why() {
        let all = all().unwrap();
        assert!(all.len() >= 80, "{}", all.len());
        for specimen in &all {
            assert!(!specimen.about.why.trim().is_empty(), "{}", specimen.name);
            seatrial_policy::Policy::parse(specimen.policy, jiff::Timestamp::now()).unwrap();
            for planned in &specimen.trials {
                for end in planned
                    .expect
                    .or
                    .iter()
                    .chain(planned.expect.at.values().flat_map(|at| &at.or))
                {
                    let (state, reason) = end.split_once(' ').unwrap();
                    serde_json::from_value::<Ending>(state.into()).unwrap();
                    serde_json::from_value::<Reason>(reason.into()).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_line_can_stand_for_many() {
        let repeat = Repeat {
            mark: "many".to_owned(),
            line: "RUN echo {n}".to_owned(),
            times: 2,
        };
        let made = repeated("FROM x\n# many\n# other\n", &[repeat]).unwrap();
        assert_eq!(made, "FROM x\nRUN echo 0\nRUN echo 1\n# other\n");
        let endless = Repeat {
            mark: "many".to_owned(),
            line: "x".repeat(1000),
            times: usize::MAX,
        };
        assert!(repeated("# many\n", &[endless]).is_err());
    }

    #[test]
    fn a_level_may_know_less_and_nothing_else() {
        let text = r#"
            state = "succeeded"
            reason = "ok"
            blame = "nobody"
            refused = ["a"]
            [result]
            b = 1
            c = 1
            [at.gvisor]
            refused = ["b"]
            ignore = ["a"]
            [at.kata]
            not = "no machine"
        "#;
        let expect: Expect = toml::from_str(text).unwrap();
        let there = expect.at(Level::Gvisor).unwrap();
        assert_eq!((there.refused, there.result.len()), (vec!["b".to_owned()], 1));
        assert_eq!(expect.at(Level::Userns).unwrap().result.len(), 2);
        assert_eq!(expect.at(Level::Kata).unwrap_err(), "no machine");
    }
}
