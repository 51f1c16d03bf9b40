//! A judged file -> the file that is built: only forms that every reader reads alike.
//!
//! The judge reads as BuildKit does, the builder is buildah, and they differ in many small things.
//! So what is built is a file of our own making: stages that nothing needs are gone, variables are
//! expanded by us with BuildKit's rules and their values quoted, commands are JSON, images are
//! local ids, here-documents that are scripts are arguments. What buildah was not seen to build as
//! BuildKit documents it is refused with a finding (ST090 to ST096).
//!
//! Settings that no command in the build can see (labels, ports, volumes, the command ...) are
//! written once, at the end of the last stage: each step costs the builder time.
//!
//! Not carried, because the OCI image format has no place for them and nothing in a run reads
//! them: `HEALTHCHECK`, `SHELL` (used here, where it matters), `ONBUILD` of a stage that no other
//! stage is built on.
//!
//! Reading order: [`stages`] (which stages, on which bases), [`step`] (instruction by
//! instruction), [`copy`] and [`mount`], [`late`] (what only the image has), [`emit`] (what is
//! written), [`expect`] (what the image must then be), [`rules`](mod@rules).

mod copy;
mod emit;
mod expect;
mod late;
mod mount;
mod path;
mod rules;
mod stages;
mod step;
mod vars;

use std::collections::BTreeMap;

use seatrial_core::{
    finding::{Finding, Span},
    image::ImageConfig,
};

pub use rules::{findings, rules};

use crate::{
    parse::{self, Parsed},
    render,
};

/// A base image that the file needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BaseUse {
    /// Its name, completed: `docker.io/library/debian:latest`.
    pub reference: String,
    /// 1-based line of the first use.
    pub line: usize,
    /// Where that use stands.
    pub span: Span,
}

/// What a base's name became.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoweredBase {
    /// The local image id, 64 hexadecimal digits.
    pub reference: String,
    /// Its config.
    pub config: ImageConfig,
}

/// What will be built, and what must come of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The text for the builder.
    pub dockerfile: String,
    /// One for each step that the builder counts, in the order of the text.
    pub steps: Vec<PlannedStep>,
    /// How many of them each stage has. The builder may begin a stage before those that it waits
    /// for, so only within a stage do steps come in order.
    pub stage_steps: Vec<usize>,
    /// A stage is built on another one, so the builder has to keep an image in between.
    pub stage_on_stage: bool,
    /// The base that the final stage stands on, whatever stages lie between; `None` for `scratch`.
    pub final_base: Option<String>,
    /// The config that the image must have.
    pub config: ImageConfig,
}

/// A step of the builder and what asked for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedStep {
    /// 1-based line of the ORIGINAL file.
    pub line: usize,
    /// The instruction there, joined to one line and cut. Guest bytes: escape before printing.
    pub text: String,
}

impl Plan {
    /// What differs between the config of the built image and the plan; nothing: it is the image
    /// that was judged.
    #[must_use]
    pub fn mismatches(&self, built: &ImageConfig) -> Vec<String> {
        expect::mismatches(&self.config, built)
    }
}

/// The base images of the stages that the final stage needs, each once, in order.
///
/// # Errors
/// Findings, for a name that cannot be decided or is none.
pub fn base_references(parsed: &Parsed) -> Result<Vec<BaseUse>, Vec<Finding>> {
    let graph = stages::Graph::of(parsed)?;
    Ok(graph.bases())
}

/// Lowers a file that parses, on the bases that [`base_references`] named.
///
/// # Errors
/// Findings, for what is not built.
pub fn lower(parsed: &Parsed, bases: &BTreeMap<String, LoweredBase>) -> Result<Plan, Vec<Finding>> {
    let graph = stages::Graph::of(parsed)?;
    let lowered = step::walk(parsed, &graph, bases)?;
    let dockerfile = render::render(&lowered.file);
    // What the builder reads must be what was lowered: a value that broke out of its quotes or its
    // line would show here.
    let again = parse::parse_rendering(dockerfile.as_bytes());
    if !again.errors.is_empty() || !render::same(&again.dockerfile, &lowered.file) {
        return Err(vec![rules::at(
            parsed,
            &rules::UNWRITABLE,
            Span::new(0, 0),
            "the file cannot be written so that it reads as it was judged".to_owned(),
        )]);
    }
    let stages = lowered.file.stages();
    Ok(Plan {
        dockerfile,
        steps: lowered.steps,
        stage_on_stage: stages.iter().any(|stage| {
            let base = lowered.file.instructions[stage.from].words().first();
            base.is_some_and(|base| stages.iter().any(|other| other.name.as_ref() == Some(&base.value)))
        }),
        stage_steps: stages.iter().map(|stage| stage.body.len() + 1).collect(),
        final_base: lowered.final_base,
        config: lowered.config,
    })
}
#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn plan_on(text: &str, config: &ImageConfig) -> Result<Plan, Vec<String>> {
        let parsed = parse::parse(text.as_bytes());
        assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
        let told = |findings: Vec<Finding>| {
            findings
                .into_iter()
                .map(|finding| format!("{} line {}: {}", finding.rule, finding.line, finding.message))
                .collect::<Vec<_>>()
        };
        let wanted = base_references(&parsed).map_err(told)?;
        let base = |wanted: BaseUse| {
            let config = config.clone();
            let reference = if wanted.reference.contains("other") {
                "other"
            } else {
                "id"
            };
            (
                wanted.reference,
                LoweredBase {
                    reference: reference.into(),
                    config,
                },
            )
        };
        let bases: BTreeMap<_, _> = wanted.into_iter().map(base).collect();
        lower(&parsed, &bases).map_err(told)
    }

    fn plan(text: &str) -> Result<Plan, Vec<String>> {
        let config = ImageConfig {
            env: vec!["PATH=/bin".into()],
            cmd: vec!["sh".into()],
            ..ImageConfig::default()
        };
        plan_on(text, &config)
    }

    fn text(file: &str) -> String {
        plan(file).unwrap().dockerfile
    }

    fn refusal(file: &str) -> String {
        plan(file).unwrap_err().join("\n")
    }

    #[test]
    fn stages_that_nothing_needs_are_gone_and_the_others_have_names_of_ours() {
        let plan =
            plan("FROM a AS x\nRUN true\nFROM gone\nRUN false\nFROM a\nCOPY --from=X /f /g\nCOPY --from=other /h /i\n")
                .unwrap();
        assert_eq!(
            plan.dockerfile,
            "FROM id AS s0\nRUN [\"/bin/sh\",\"-c\",\"true\"]\nFROM other AS h0\nFROM id AS s1\nCOPY --from=s0 [\"/f\",\"/g\"]\nCOPY --from=h0 [\"/h\",\"/i\"]\n"
        );
        assert_eq!(plan.stage_steps, [2, 1, 3]);
        assert_eq!(
            plan.steps.iter().map(|step| step.line).collect::<Vec<_>>(),
            [1, 2, 7, 5, 6, 7]
        );
        assert_eq!(plan.final_base.as_deref(), Some("id"));
    }

    #[test]
    fn values_are_replaced_and_quoted() {
        assert_eq!(
            text("FROM a\nARG x=\"it's\"\nENV y=$x-$x z='$x'\nRUN echo $y\nWORKDIR b\nWORKDIR ../c $x\n"),
            "FROM id AS s0\nARG x='it'\\''s'\nENV y='it'\\''s-it'\\''s' z='$x'\nRUN [\"/bin/sh\",\"-c\",\"echo $y\"]\nWORKDIR /b\nWORKDIR '/c it'\\''s'\n"
        );
    }

    #[test]
    fn an_argument_that_hides_a_variable_of_the_image_is_taken_back_at_the_end() {
        assert_eq!(
            text("FROM a\nENV v=1\nARG v=2\nRUN true\n"),
            "FROM id AS s0\nENV v=2\nRUN [\"/bin/sh\",\"-c\",\"true\"]\nENV v=1\n"
        );
    }

    #[test]
    fn an_image_without_a_path_gets_the_usual_one() {
        for text in ["FROM a\nCMD [\"c\"]\n", "FROM scratch\n"] {
            let plan = plan_on(text, &ImageConfig::default()).unwrap();
            assert!(plan.config.env[0].starts_with("PATH=/usr/local/sbin:"), "{text}");
            assert!(plan.dockerfile.contains("ENV PATH=/usr/local/sbin:"), "{text}");
        }
        assert_eq!(plan("FROM a\n").unwrap().config.env, ["PATH=/bin"]);
    }

    #[test]
    fn a_stage_on_a_stage_inherits_arguments_and_everything_else() {
        let plan = plan("FROM a AS x\nARG v=1\nCMD [\"c\"]\nLABEL l=$v\nFROM x\nRUN true\nENTRYPOINT e\n").unwrap();
        assert_eq!(
            plan.dockerfile,
            "FROM id AS s0\nFROM s0 AS s1\nARG v=1\nRUN [\"/bin/sh\",\"-c\",\"true\"]\nLABEL l=1\nENTRYPOINT [\"/bin/sh\",\"-c\",\"e\"]\n"
        );
        assert_eq!((plan.config.cmd.len(), &*plan.config.labels["l"]), (0, "1"));
    }

    #[test]
    fn a_script_with_its_interpreter_is_a_file_and_any_other_text_an_argument() {
        assert_eq!(
            text("FROM a\nSHELL [\"bash\", \"-c\"]\nRUN <<EOF\necho $x\nEOF\nRUN <<-E cat\n\tx\n\tE\nRUN <<E\n#!/bin/x\nE\n"),
            "FROM scratch AS h0\nCOPY --chmod=0755 <<'SEATRIAL-SCRIPT' /script\n#!/bin/x\nSEATRIAL-SCRIPT\nFROM id AS s0\n\
             RUN [\"bash\",\"-c\",\"echo $x\\n\"]\nRUN [\"bash\",\"-c\",\"\\u003c\\u003c-E cat\\n\\tx\\nE\"]\n\
             RUN --mount=\"type=bind,from=h0,source=/,target=/run/seatrial-heredoc\" [\"bash\",\"-c\",\"/run/seatrial-heredoc/script\"]\n"
                .replace("\"type=bind,from=h0,source=/,target=/run/seatrial-heredoc\"", "type=bind,from=h0,source=/,target=/run/seatrial-heredoc")
        );
    }

    #[test]
    fn what_is_not_built_is_refused_with_its_rule_and_line() {
        for (file, expected) in [
            ("FROM a\nADD http://x/y /z\n", "ST090 line 2"),
            ("FROM a\nRUN --mount=type=secret,id=x true\n", "ST090 line 2"),
            ("FROM a\nRUN --network=host true\n", "ST090 line 2"),
            ("FROM --platform=linux/s390x a\n", "ST090 line 1"),
            ("FROM a AS x\nONBUILD RUN true\nFROM x\n", "ST090 line 3"),
            ("FROM $x\n", "ST091 line 1"),
            ("FROM a\nENV x=${y?no}\n", "ST091 line 2"),
            ("FROM a\nCOPY --chmod=u+x a /b\n", "ST092 line 2"),
            ("FROM a\nCOPY --parents a /b\n", "ST092 line 2"),
            ("FROM a\nRUN --mount=type=tmpfs,target=/dev/x true\n", "ST092 line 2"),
            (
                "FROM a\nCOPY --from=1 a /b\nFROM a\nCOPY --from=0 a b\n",
                "ST093 line 2",
            ),
            ("FROM a\nCOPY --from=x a /b\nFROM a AS x\n", ""),
            ("FROM a\nCOPY <<EOF /x\nEOF\n", "ST094 line 2"),
            ("FROM a\nENV x=E\nCOPY <<E /x\n$x\nE\n", "ST094 line 3"),
            ("FROM a\nEXPOSE 70000\n", "ST096 line 2"),
            ("FROM a\nCOPY a b /c\n", "ST096 line 2"),
        ] {
            let found = plan(file).err().unwrap_or_default().join("\n");
            assert!(
                if expected.is_empty() {
                    found.is_empty()
                } else {
                    found.starts_with(expected)
                },
                "{file}: {found}"
            );
        }
    }

    #[test]
    fn values_that_contain_each_other_are_stopped() {
        let mut file = "FROM a\nENV v=0123456789\n".to_owned();
        file.push_str(&"ENV v=$v$v$v$v\n".repeat(900));
        assert!(refusal(&file).starts_with("ST095"), "{}", refusal(&file));
    }

    #[test]
    fn the_text_alone_shows_what_no_base_can_change() {
        let rules = |text: &str| {
            let parsed = parse::parse(text.as_bytes());
            findings(&parsed)
                .iter()
                .map(|finding| finding.rule.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(rules("FROM a\nADD https://x/y /z\nUSER ${FROM_BASE:?}\n"), ["ST090"]);
        assert_eq!(rules("FROM a\nRUN true\n"), [""; 0]);
    }

    #[test]
    fn a_built_image_that_is_something_else_is_named() {
        let plan = plan("FROM a\nUSER 7\nENV x=1\nLABEL l=1\nCMD [\"c\"]\n").unwrap();
        assert!(plan.mismatches(&plan.config).is_empty());
        let mut built = plan.config.clone();
        built.labels.insert("io.buildah.version".into(), "1.39.3".into());
        built.user = "0".into();
        built.env.push("y=2".into());
        built.healthcheck = Some(Box::new(serde_json::json!({"Test": ["NONE"]})));
        assert_eq!(
            plan.mismatches(&built),
            ["user", "environment", "set of labels", "health check"]
                .map(|what| format!("the {what} is not as planned"))
        );
    }
}
