//! What lies on the Engine, whosever it is, and who else is at work: for those who check that an attack left nothing.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use seatrial_core::engine::EngineError;

use crate::{engine::DockerEngine, instance, names, reach::DEFAULT_HOST};

/// Names and ids of all that lies on the Engine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// Names of containers, stopped ones too.
    pub containers: BTreeSet<String>,
    /// Names of volumes.
    pub volumes: BTreeSet<String>,
    /// Names of networks.
    pub networks: BTreeSet<String>,
    /// Ids of images.
    pub images: BTreeSet<String>,
    /// Names of images.
    pub tags: BTreeSet<String>,
}

/// Volumes that outlive jobs on purpose: bases, their scans, databases, tools.
const LASTING: [&str; 4] = ["st-base-", "st-scan-", "st-db-", "st-tools-"];
/// Containers in which a guest is: of any process, also of one with another data directory.
const GUESTS: [&str; 2] = ["st-build-", "st-run-"];

impl Census {
    /// What `later` has and this has not, and the other way round; lasting volumes of ours may come, and never go.
    #[must_use]
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for (kind, before, after) in [
            ("container", &self.containers, &later.containers),
            ("volume", &self.volumes, &later.volumes),
            ("network", &self.networks, &later.networks),
            ("image", &self.images, &later.images),
            ("tag", &self.tags, &later.tags),
        ] {
            let fresh = after.difference(before).filter(|name| !is_lasting(kind, name));
            changes.extend(fresh.map(|name| format!("{kind} {name} is new")));
            changes.extend(before.difference(after).map(|name| format!("{kind} {name} is gone")));
        }
        changes
    }
}

fn is_lasting(kind: &str, name: &str) -> bool {
    // The image of the holder is made at the first job of a binary.
    (kind == "volume" && LASTING.iter().any(|prefix| name.starts_with(prefix)))
        || (kind == "tag" && name.starts_with("seatrial/holder:"))
}

impl DockerEngine {
    /// All that lies on the Engine now.
    ///
    /// # Errors
    /// The Engine gives no answer.
    pub async fn census(&self) -> Result<Census, EngineError> {
        let client = &self.inner().client;
        let (containers, volumes, networks, images) = tokio::try_join!(
            client.all_containers(),
            client.all_volumes(),
            client.all_networks(),
            client.all_images()
        )?;
        let names = containers.into_iter().flat_map(|found| found.names.unwrap_or_default());
        let tags = images.iter().flat_map(|image| &image.repo_tags);
        Ok(Census {
            containers: names.map(|name| name.trim_start_matches('/').to_owned()).collect(),
            volumes: volumes.into_iter().map(|volume| volume.name).collect(),
            networks: networks.into_iter().filter_map(|network| network.name).collect(),
            tags: tags.filter(|tag| *tag != "<none>:<none>").cloned().collect(),
            images: images.into_iter().map(|image| image.id).collect(),
        })
    }

    /// Who else is at work: living processes with our data directory, and guests of anybody on this Engine.
    ///
    /// # Errors
    /// The Engine gives no answer.
    pub async fn others(&self) -> Result<Vec<String>, EngineError> {
        let inner = self.inner();
        let own = self.instance();
        let siblings = instance::living_siblings(&inner.data_dir, own);
        let mut others: Vec<String> = siblings.into_iter().map(|id| format!("process {id}")).collect();
        let names = inner.client.all_containers().await?;
        let names = names.into_iter().flat_map(|found| found.names.unwrap_or_default());
        let guests = names
            .map(|name| name.trim_start_matches('/').to_owned())
            .filter(|name| GUESTS.iter().any(|kind| name.starts_with(kind)) && names::instance_of(name) != Some(own));
        others.extend(guests.map(|name| format!("container {name}")));
        Ok(others)
    }

    /// Ids of containers that were created since then, as far as the Engine remembers.
    ///
    /// # Errors
    /// The Engine gives no answer.
    pub async fn created_since(&self, since: Timestamp) -> Result<BTreeSet<String>, EngineError> {
        let now = Timestamp::now().as_second().max(since.as_second() + 1);
        let events = self.inner().client.creations(since.as_second(), now).await?;
        let ids = events.into_iter().filter_map(|event| event.actor?.id);
        Ok(ids.collect())
    }

    /// Where the Engine listens, when that is a Unix socket of this machine.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        let host = self.inner().settings.host.as_deref().unwrap_or(DEFAULT_HOST);
        let path = host
            .strip_prefix("unix://")
            .or_else(|| host.starts_with('/').then_some(host));
        path.map(|path| Path::new(path).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(volumes: &[&str], images: &[&str]) -> Census {
        Census {
            volumes: volumes.iter().map(ToString::to_string).collect(),
            images: images.iter().map(ToString::to_string).collect(),
            ..Census::default()
        }
    }

    #[test]
    fn what_came_and_what_went_is_told_and_lasting_volumes_may_come() {
        let before = census(&["st-base-a-1", "theirs"], &["sha256:1"]);
        let after = census(&["st-scan-b", "theirs", "st-data-i-j-1"], &["sha256:2"]);
        assert_eq!(
            before.changes(&after),
            [
                "volume st-data-i-j-1 is new",
                "volume st-base-a-1 is gone",
                "image sha256:2 is new",
                "image sha256:1 is gone",
            ]
        );
        assert!(before.changes(&before).is_empty());
    }
}
