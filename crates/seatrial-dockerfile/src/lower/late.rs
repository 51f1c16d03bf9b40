//! What only the finished image has, and no command of the build sees: written once, at the end of
//! the last stage, where it differs from the image below.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    emit,
    rules::{INVALID, TOO_LARGE, UNDECIDED, UNWRITABLE},
    step::{Refusal, Walk, refuse, text, values},
};
use crate::ast::{Args, Instruction, Keyword};

/// Labels, ports, volumes, variables, words of a command: of each. What is checked when the image
/// is built takes no more (`verify` in `seatrial-engine`).
const MAX_ITEMS: usize = 1000;

/// Refuses more than an image may have.
pub(super) fn at_most(count: usize, what: &str) -> Result<(), Refusal> {
    if count > MAX_ITEMS {
        return Err(refuse(&TOO_LARGE, format!("more than {MAX_ITEMS} {what}")));
    }
    Ok(())
}

/// Which setting: its step is told as the instruction that set it last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Late {
    Labels,
    Ports,
    Volumes,
    StopSignal,
    Entrypoint,
    Cmd,
}

impl Walk<'_> {
    pub(super) fn command(&mut self, index: usize, instruction: &Instruction) -> Result<(), Refusal> {
        self.spend_command()?;
        let command = match &instruction.args {
            Args::Json(_) => values(instruction),
            Args::Text(word) => {
                let mut command = self.shell();
                command.push(word.value.clone());
                command
            }
            _ => return Err(refuse(&INVALID, "there is no command")),
        };
        at_most(command.len(), "words in a command")?;
        if instruction.keyword == Keyword::Cmd {
            self.state.config.cmd = command;
            self.state.cmd_is_set = true;
            self.state.last_setter.insert(Late::Cmd, index);
        } else {
            self.state.config.entrypoint = command;
            if !self.state.cmd_is_set {
                self.state.config.cmd = Vec::new();
            }
            self.state.last_setter.insert(Late::Entrypoint, index);
        }
        Ok(())
    }

    pub(super) fn label(&mut self, index: usize, instruction: &Instruction) -> Result<(), Refusal> {
        for pair in instruction.pairs() {
            self.expander.spend_entry()?;
            let name = self.expand(&pair.name.value)?;
            let value = self.expand(pair.value.as_ref().map_or("", |value| &value.value))?;
            if name.is_empty() {
                return Err(refuse(&UNDECIDED, format!("the name {:?} is empty", pair.name.value)));
            }
            self.state.config.labels.insert(name, value);
            at_most(self.state.config.labels.len(), "labels")?;
        }
        self.state.last_setter.insert(Late::Labels, index);
        Ok(())
    }

    pub(super) fn expose(&mut self, index: usize, instruction: &Instruction) -> Result<(), Refusal> {
        for word in instruction.words() {
            for port in self.expander.words(&word.value, &self.state.env)? {
                let ports = ports(&port).ok_or_else(|| refuse(&INVALID, format!("{port:?} is no port")))?;
                self.expander.spend(16 * ports.len())?;
                for port in ports {
                    self.state.config.exposed_ports.insert(port, serde_json::json!({}));
                }
                at_most(self.state.config.exposed_ports.len(), "ports")?;
            }
        }
        self.state.last_setter.insert(Late::Ports, index);
        Ok(())
    }

    pub(super) fn volume(&mut self, index: usize, instruction: &Instruction) -> Result<(), Refusal> {
        for word in instruction.words() {
            let volume = self.expand(&word.value)?;
            if volume.trim() != volume || !volume.starts_with('/') {
                return Err(refuse(&INVALID, format!("the volume {volume:?} is no absolute path")));
            }
            self.state.config.volumes.insert(volume, serde_json::json!({}));
            at_most(self.state.config.volumes.len(), "volumes")?;
        }
        self.state.last_setter.insert(Late::Volumes, index);
        Ok(())
    }

    pub(super) fn stop_signal(&mut self, index: usize, instruction: &Instruction) -> Result<(), Refusal> {
        let signal = self.expand(&text(instruction))?;
        if !is_signal(&signal) {
            return Err(refuse(&INVALID, format!("{signal:?} is no signal")));
        }
        self.state.config.stop_signal = signal;
        self.state.last_setter.insert(Late::StopSignal, index);
        Ok(())
    }

    /// Writes what only the finished image has, where it differs from the image below.
    pub(super) fn finish(&mut self, from: &Instruction) -> Result<(), Refusal> {
        let restored: Vec<_> = self
            .state
            .image
            .differing(&self.state.built.env)
            .into_iter()
            .filter_map(|name| Some((Arc::clone(&name), Arc::clone(self.state.image.value(&name)?))))
            .collect();
        self.push_pairs(from, Keyword::Env, &restored)?;
        self.flush_user(from)?;
        let below = self
            .state
            .root
            .as_ref()
            .map(|root| root.config.clone())
            .unwrap_or_default();
        let config = self.state.config.clone();
        let labels = config
            .labels
            .iter()
            .filter(|(name, value)| below.labels.get(*name) != Some(*value));
        let labels: Vec<(&str, &str)> = labels.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if !labels.is_empty() {
            let written = emit::pairs(Keyword::Label, labels)
                .map_err(|name| refuse(&UNWRITABLE, format!("the label {name:?} cannot be written")))?;
            self.push_late(from, Late::Labels, written)?;
        }
        let new = |all: &BTreeMap<String, serde_json::Value>, below: &BTreeMap<String, serde_json::Value>| {
            all.keys()
                .filter(|one| !below.contains_key(*one))
                .cloned()
                .collect::<Vec<_>>()
        };
        let ports = new(&config.exposed_ports, &below.exposed_ports);
        if !ports.is_empty() {
            self.push_late(from, Late::Ports, emit::list(Keyword::Expose, ports))?;
        }
        let volumes = new(&config.volumes, &below.volumes);
        if !volumes.is_empty() {
            let volumes: Option<Vec<String>> = volumes.iter().map(|volume| emit::quoted(volume)).collect();
            let volumes = volumes.ok_or_else(|| refuse(&UNWRITABLE, "a volume has a line end in it"))?;
            self.push_late(from, Late::Volumes, emit::json(Keyword::Volume, volumes))?;
        }
        if config.stop_signal != below.stop_signal
            && let Some(written) = emit::text(Keyword::Stopsignal, &config.stop_signal)
        {
            self.push_late(from, Late::StopSignal, written)?;
        }
        let entrypoint = config.entrypoint != below.entrypoint;
        if entrypoint {
            self.push_late(
                from,
                Late::Entrypoint,
                emit::json(Keyword::Entrypoint, config.entrypoint),
            )?;
        }
        // An ENTRYPOINT empties the builder's CMD, so it is written again.
        let now: &[String] = if entrypoint { &[] } else { &below.cmd };
        if config.cmd != now {
            self.push_late(from, Late::Cmd, emit::json(Keyword::Cmd, config.cmd))?;
        }
        Ok(())
    }

    fn push_late(&mut self, from: &Instruction, late: Late, written: Instruction) -> Result<(), Refusal> {
        let instructions = &self.parsed.dockerfile.instructions;
        let setter = self
            .state
            .last_setter
            .get(&late)
            .and_then(|index| instructions.get(*index));
        self.push(setter.unwrap_or(from), written)
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`, each port written out.
fn ports(written: &str) -> Option<Vec<String>> {
    let (range, protocol) = written.split_once('/').unwrap_or((written, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits)
    };
    let (first, last) = (number(first)?, number(last)?);
    let sound = matches!(protocol.as_str(), "tcp" | "udp" | "sctp") && first <= last;
    sound.then(|| (first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn is_signal(signal: &str) -> bool {
    if signal.bytes().all(|byte| byte.is_ascii_digit()) {
        return signal.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    }
    let name = signal.strip_prefix("SIG").unwrap_or(signal);
    [
        "ABRT", "ALRM", "CONT", "HUP", "INT", "IO", "KILL", "PIPE", "PROF", "PWR", "QUIT", "STOP", "TERM", "TSTP",
        "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX", "RTMIN+3",
    ]
    .contains(&name)
}
