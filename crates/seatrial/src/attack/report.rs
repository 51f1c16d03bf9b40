//! What an attack told: a table for people, one document for machines, SARIF 2.1.0 for code scanning.

use std::fmt::Write as _;

use jiff::Timestamp;
use seatrial_core::{
    job::{Ending, Reason},
    walls::Level,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{End, specimen::Specimen};

/// The whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Suite {
    /// Version of this document: 1.
    pub(crate) version: u32,
    /// Version of the binary that brought the specimens.
    pub(crate) seatrial: &'static str,
    /// What was attacked.
    pub(crate) engine: EngineTold,
    /// How strong the walls around the runs were, from the evidence of an ordinary trial.
    pub(crate) level: Level,
    /// `fixture` or `real`.
    pub(crate) database: &'static str,
    /// When it began.
    pub(crate) started_at: Timestamp,
    /// How long it took.
    pub(crate) took_s: f64,
    /// Resident bytes of the Engine's processes, before all and after all.
    pub(crate) daemons_memory: (Option<u64>, Option<u64>),
    /// What of the host could not be looked at.
    pub(crate) not_checked: Vec<String>,
    /// One for each specimen.
    pub(crate) specimens: Vec<Row>,
}

/// What was attacked.
#[derive(Debug, Serialize)]
pub(crate) struct EngineTold {
    /// Version.
    pub(crate) version: String,
    /// API version.
    pub(crate) api_version: String,
    /// Kernel release.
    pub(crate) kernel: String,
    /// Names of its runtimes.
    pub(crate) runtimes: Vec<String>,
    /// Version of the default one.
    pub(crate) runc: String,
    /// Storage driver.
    pub(crate) storage_driver: String,
    /// cgroup version.
    pub(crate) cgroup: String,
}

/// One specimen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: &'static str,
    /// Why it is there.
    pub(crate) why: String,
    /// What it repeats.
    pub(crate) incident: Option<String>,
    /// `contained`, `escaped` or `not_run`.
    pub(crate) verdict: &'static str,
    /// What escaped, or why it did not run.
    pub(crate) detail: Option<String>,
    /// How its first trial ended.
    pub(crate) state: Option<Ending>,
    /// The reason code.
    pub(crate) reason: Option<Reason>,
    /// How long it took with all that is looked at afterwards.
    pub(crate) took_s: f64,
}

impl Row {
    /// Of a specimen that was not yet tried.
    pub(crate) fn of(specimen: &Specimen) -> Self {
        Self {
            name: specimen.name,
            why: specimen.about.why.clone(),
            incident: specimen.about.incident.clone(),
            verdict: "not_run",
            detail: None,
            state: None,
            reason: None,
            took_s: 0.0,
        }
    }

    /// Takes the verdict.
    pub(crate) fn end(&mut self, end: End) {
        self.verdict = end.word();
        self.detail = end.detail().map(str::to_owned);
    }

    /// One line, or two when there is something to tell.
    pub(crate) fn line(&self) -> String {
        let colour = match self.verdict {
            "contained" => "32",
            "escaped" => "31",
            _ => "33",
        };
        let code = match (self.state, self.reason) {
            (Some(state), Some(reason)) => format!("{state} {reason}"),
            _ => "-".to_owned(),
        };
        let mut line = format!(
            "\x1b[{colour}m{:<9}\x1b[0m {:<26} {code:<30} {:>5.1} s",
            self.verdict, self.name, self.took_s
        );
        if let Some(detail) = &self.detail {
            let _ = write!(line, "\n          {detail}");
        }
        line
    }
}

impl Suite {
    /// How many have this verdict.
    pub(crate) fn count(&self, verdict: &str) -> usize {
        self.specimens.iter().filter(|row| row.verdict == verdict).count()
    }

    /// 0: all that ran was contained. 1: something escaped. 5: it was interrupted before the end. 6: nothing was
    /// contained, or with `strict` not all.
    pub(crate) fn exit_code(&self, strict: bool, interrupted: bool) -> u8 {
        let ending = if self.count("escaped") > 0 {
            Ending::Failed
        } else if interrupted {
            Ending::Cancelled
        } else if self.count("contained") == 0 || (strict && self.count("not_run") > 0) {
            Ending::Errored
        } else {
            Ending::Succeeded
        };
        ending.exit_code()
    }

    /// The table.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for row in &self.specimens {
            let _ = writeln!(out, "{}", row.line());
        }
        let engine = &self.engine;
        let _ = writeln!(
            out,
            "\nlevel {}: Engine {}, kernel {}, {}, {}, cgroup {}; {} database; {:.0} s",
            self.level.as_str(),
            engine.version,
            engine.kernel,
            engine.runtimes.join(" "),
            engine.storage_driver,
            engine.cgroup,
            self.database,
            self.took_s,
        );
        for missing in &self.not_checked {
            let _ = writeln!(out, "not checked: {missing}");
        }
        let _ = writeln!(
            out,
            "{} contained, {} escaped, {} not run",
            self.count("contained"),
            self.count("escaped"),
            self.count("not_run")
        );
        out
    }

    /// The document.
    pub(crate) fn document(&self) -> Value {
        let mut document = serde_json::to_value(self).unwrap_or_default();
        document["counts"] = json!({
            "contained": self.count("contained"),
            "escaped": self.count("escaped"),
            "not_run": self.count("not_run"),
        });
        document
    }

    /// One rule a specimen; a result only for what escaped, and a note for what did not run.
    pub(crate) fn sarif(&self) -> Value {
        let rules: Vec<Value> = self.specimens.iter().map(rule).collect();
        let results: Vec<Value> = self.specimens.iter().enumerate().filter_map(result).collect();
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {
                    "name": "Seatrial attack",
                    "version": self.seatrial,
                    "informationUri": env!("CARGO_PKG_REPOSITORY"),
                    "rules": rules,
                }},
                "invocations": [{
                    "executionSuccessful": self.count("contained") > 0,
                    "startTimeUtc": self.started_at.to_string(),
                }],
                "columnKind": "unicodeCodePoints",
                "properties": {"level": self.level, "engine": self.engine, "not_checked": self.not_checked},
                "results": results,
            }],
        })
    }
}

fn rule(row: &Row) -> Value {
    json!({
        "id": row.name,
        "shortDescription": {"text": row.why},
        "fullDescription": {"text": row.incident.as_deref().unwrap_or(&row.why)},
        "defaultConfiguration": {"level": "error"},
        "properties": {"security-severity": "8.9", "tags": ["security", "sandbox"]},
    })
}

fn result((index, row): (usize, &Row)) -> Option<Value> {
    let level = match row.verdict {
        "escaped" => "error",
        "not_run" => "note",
        _ => return None,
    };
    Some(json!({
        "ruleId": row.name,
        "ruleIndex": index,
        "level": level,
        "message": {"text": format!("{}: {}", row.verdict, row.detail.as_deref().unwrap_or_default())},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": format!("specimens/{}/Dockerfile", row.name)},
            "region": {"startLine": 1},
        }}],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite() -> Suite {
        let row = |name, end: End| {
            let mut row = Row {
                name,
                why: "it must not".to_owned(),
                incident: None,
                verdict: "not_run",
                detail: None,
                state: Some(Ending::Succeeded),
                reason: Some(Reason::Ok),
                took_s: 1.25,
            };
            row.end(end);
            row
        };
        Suite {
            version: 1,
            seatrial: "0",
            engine: EngineTold {
                version: "20.10".to_owned(),
                api_version: "1.41".to_owned(),
                kernel: "6.18".to_owned(),
                runtimes: vec!["runc".to_owned()],
                runc: "1.1.5".to_owned(),
                storage_driver: "overlay2".to_owned(),
                cgroup: "1".to_owned(),
            },
            level: Level::Userns,
            database: "fixture",
            started_at: Timestamp::UNIX_EPOCH,
            took_s: 3.0,
            daemons_memory: (None, None),
            not_checked: vec!["the moon".to_owned()],
            specimens: vec![
                row("good", End::Contained),
                row("bad", End::Escaped("a hole".to_owned())),
                row("silent", End::NotRun("no base".to_owned())),
            ],
        }
    }

    #[test]
    fn the_table_tells_each_what_was_not_checked_and_the_sum() {
        let text = suite().text();
        assert!(
            text.contains("a hole") && text.contains("not checked: the moon"),
            "{text}"
        );
        assert!(text.ends_with("1 contained, 1 escaped, 1 not run\n"), "{text}");
    }

    #[test]
    fn the_document_has_a_version_a_level_and_counts() {
        let document = suite().document();
        assert_eq!(
            (&document["version"], &document["level"]),
            (&json!(1), &json!("userns"))
        );
        assert_eq!(document["counts"], json!({"contained": 1, "escaped": 1, "not_run": 1}));
        assert_eq!(document["specimens"][1]["detail"], "a hole");
    }

    #[test]
    fn what_escaped_fails_and_silence_alone_is_no_success() {
        let code = |verdicts: &[usize], strict, interrupted| {
            let mut suite = suite();
            suite.specimens = verdicts.iter().map(|index| suite.specimens[*index].clone()).collect();
            suite.exit_code(strict, interrupted)
        };
        assert_eq!(code(&[0, 1, 2], false, true), 1);
        assert_eq!(code(&[0, 2], false, false), 0);
        assert_eq!(code(&[0, 2], true, false), 6);
        assert_eq!(code(&[0, 2], false, true), 5);
        assert_eq!(code(&[2], false, false), 6);
        assert_eq!(code(&[], false, false), 6);
    }

    #[test]
    fn sarif_has_a_rule_for_each_and_a_result_for_what_is_not_contained() {
        let log = suite().sarif();
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), 3);
        let results = run["results"].as_array().unwrap();
        let levels: Vec<_> = results
            .iter()
            .map(|result| (&result["ruleIndex"], &result["level"]))
            .collect();
        assert_eq!(levels, [(&json!(1), &json!("error")), (&json!(2), &json!("note"))]);
    }
}
