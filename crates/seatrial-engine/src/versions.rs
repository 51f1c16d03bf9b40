//! Which versions the Engine and our tools have, for those who compare them with known holes.

use std::{collections::BTreeMap, time::Duration};

use seatrial_core::engine::{EngineError, ReadyInput, ToolImage, ToolSpec};

use crate::{
    engine::{DockerEngine, Inner},
    tool,
};

/// What the Engine says of its parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Versions {
    /// Version text of each component, by the Engine's name for it: `Engine`, `containerd`, `runc`.
    pub components: BTreeMap<String, String>,
    /// Path of each runtime's program on the Engine's host, where the Engine tells it.
    pub runtimes: BTreeMap<String, String>,
}

impl DockerEngine {
    /// The versions that the Engine tells.
    ///
    /// # Errors
    /// The Engine's.
    pub async fn versions(&self) -> Result<Versions, EngineError> {
        let client = &self.inner().client;
        let (info, version) = tokio::try_join!(client.info(), client.version())?;
        let components = version.components.unwrap_or_default();
        let runtimes = info.runtimes.unwrap_or_default();
        Ok(Versions {
            components: components.into_iter().map(|part| (part.name, part.version)).collect(),
            runtimes: runtimes
                .into_iter()
                .filter_map(|(name, runtime)| Some((name, runtime.path?)))
                .collect(),
        })
    }

    /// What the program of a tool image prints when it is asked for its version.
    ///
    /// # Errors
    /// The image cannot be used, or the program did not answer.
    pub async fn tool_version(&self, image: ToolImage, program: &str) -> Result<String, EngineError> {
        ask(self.inner(), image, program).await
    }
}

/// Enough for a word of any program; one that prints more is none of ours.
const LONGEST: u64 = 64 << 10;

async fn ask(inner: &Inner, image: ToolImage, program: &str) -> Result<String, EngineError> {
    let args = ["scan", "--deadline-s", "30", "--program", program, "--", "--version"];
    let spec = ToolSpec {
        role: "scan",
        attempt: None,
        image,
        args: args.map(str::to_owned).to_vec(),
        mounts: Vec::new(),
        tmp: 16 << 20,
        memory: 256 << 20,
        cpus: 1.0,
        pids: 64,
        time: Duration::from_secs(30),
        network: false,
        max_output: LONGEST,
        user: "65532:65532".to_owned(),
    };
    // Nothing is to be scanned.
    let end = tool::run(inner, &spec, Box::new(ReadyInput::new(b".\n".to_vec()))).await?;
    if end.code != 0 {
        return Err(EngineError::Broken(format!(
            "{program} does not tell its version: exit code {}",
            end.code
        )));
    }
    let text = String::from_utf8_lossy(&end.stdout).into_owned();
    // Without the frame around it.
    Ok(text
        .lines()
        .filter(|line| !line.starts_with("ST1 "))
        .collect::<Vec<_>>()
        .join("\n"))
}
