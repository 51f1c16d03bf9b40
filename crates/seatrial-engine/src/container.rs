//! One container of ours, from before it is created until the janitor has it.

use bollard::models::ContainerCreateBody;
use seatrial_core::engine::EngineError;

use crate::{
    client::Client,
    janitor::{Chore, Janitor},
    stdio::Stdio,
};

/// Owns a container, and what goes away with it.
#[derive(Debug)]
pub(crate) struct Container {
    client: Client,
    janitor: Janitor,
    chore: Chore,
}

impl Container {
    /// Armed before anything exists: if the creating future is dropped, the janitor looks for it.
    pub(crate) fn arm(client: &Client, janitor: &Janitor, name: String) -> Self {
        let chore = Chore {
            containers: vec![name],
            ..Chore::default()
        };
        Self {
            client: client.clone(),
            janitor: janitor.clone(),
            chore,
        }
    }

    /// This volume goes away after the container.
    pub(crate) fn with_volume(mut self, name: String) -> Self {
        self.chore.volumes.push(name);
        self
    }

    /// This tag goes away after the container.
    pub(crate) fn with_tag(mut self, tag: String) -> Self {
        self.chore.tags.push(tag);
        self
    }

    pub(crate) fn name(&self) -> &str {
        self.chore.containers.first().map_or("", String::as_str)
    }

    /// Creates it and attaches to it. Volumes that are named after it are made with it, and go with it.
    pub(crate) async fn create(&mut self, body: ContainerCreateBody) -> Result<Stdio, EngineError> {
        let mounts = body.host_config.iter().flat_map(|host| host.mounts.iter().flatten());
        let sources = mounts.filter_map(|mount| mount.source.clone());
        let named: Vec<String> = sources.filter(|volume| volume.starts_with(self.name())).collect();
        self.chore.volumes.extend(named);
        self.client.create(self.name(), body).await?;
        self.chore.confirmed = true;
        self.client.attach(self.name()).await
    }

    pub(crate) async fn start(&self) -> Result<(), EngineError> {
        self.client.start(self.name()).await
    }

    /// Creates it, attaches to it, starts it.
    pub(crate) async fn launch(&mut self, body: ContainerCreateBody) -> Result<Stdio, EngineError> {
        let stdio = self.create(body).await?;
        self.start().await?;
        Ok(stdio)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.janitor.take(std::mem::take(&mut self.chore));
    }
}
