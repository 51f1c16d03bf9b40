//! Removes what processes that died left behind.
//!
//! An object is removed when its NAME is of our making and names an instance, its label names the
//! same instance, and that instance is dead: its lock in our data directory is free. Labels alone
//! prove nothing: an image of a guest's may carry them. Objects of other data directories are left
//! to their owners until an hour after the deadline that they carry.

use std::{collections::HashMap, fs::File, time::Duration};

use jiff::Timestamp;
use seatrial_core::engine::{EngineError, Swept};

use crate::{
    client::Removal,
    engine::Inner,
    instance,
    names::{self, Identity},
};

/// How long after its deadline an object of an unknown process is nobody's.
const FOREIGN_GRACE: Duration = Duration::from_secs(3600);

/// Sweeps.
pub(crate) async fn sweep(inner: &Inner) -> Result<Swept, EngineError> {
    let mut swept = Swept::default();
    let now = Timestamp::now().as_second();
    let no_labels = HashMap::new();
    for container in inner.client.containers(names::LABEL_INSTANCE).await? {
        let labels = container.labels.as_ref().unwrap_or(&no_labels);
        let all = container.names.unwrap_or_default();
        let Some(name) = all.first().map(|name| name.trim_start_matches('/')) else {
            continue;
        };
        if is_left_behind(inner, name, labels, now) {
            swept.containers += count(inner.client.remove_container(name).await);
        }
    }
    for volume in inner.client.volumes(names::LABEL_INSTANCE).await? {
        if is_left_behind(inner, &volume.name, &volume.labels, now) {
            swept.volumes += count(inner.client.remove_volume(&volume.name).await);
        }
    }
    swept.volumes += sweep_stores(inner).await?;
    for image in inner.client.images(&format!("{}*", names::JOB_TAG_PREFIX)).await? {
        for tag in image.repo_tags {
            if names::instance_of_tag(&tag, inner.identity()).is_some_and(|who| is_dead(inner, who)) {
                swept.images += count(inner.client.untag(&tag).await);
            }
        }
    }
    instance::forget_the_dead(&inner.data_dir);
    Ok(swept)
}

/// What resists is tried again by the next sweep.
fn count(removal: Result<Removal, EngineError>) -> usize {
    match removal {
        Ok(Removal::Done) => 1,
        Ok(Removal::Absent) => 0,
        Ok(Removal::Busy(error)) | Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "left to the next sweep");
            0
        }
    }
}

fn is_dead(inner: &Inner, instance: &str) -> bool {
    instance != inner.identity().instance && !instance::is_alive(&inner.data_dir, instance)
}

fn is_left_behind(inner: &Inner, name: &str, labels: &HashMap<String, String>, now: i64) -> bool {
    match owner(name, labels, inner.identity()) {
        Owner::Here(instance) => is_dead(inner, instance),
        Owner::Elsewhere(deadline) => now > deadline.saturating_add(FOREIGN_GRACE.as_secs().cast_signed()),
        Owner::Nobody => false,
    }
}

/// Whose an object is.
#[derive(PartialEq, Eq, Debug)]
enum Owner<'a> {
    /// Of a process with our data directory.
    Here(&'a str),
    /// Of one with another; its deadline.
    Elsewhere(i64),
    /// Not ours.
    Nobody,
}

fn owner<'a>(name: &'a str, labels: &'a HashMap<String, String>, who: &Identity) -> Owner<'a> {
    let label = |key: &str| labels.get(key).map(String::as_str);
    let Some(instance) = names::instance_of(name) else {
        return Owner::Nobody;
    };
    if label(names::LABEL_INSTANCE) != Some(instance) {
        return Owner::Nobody;
    }
    if label(names::LABEL_HOST) == Some(&who.host) {
        return Owner::Here(instance);
    }
    match label(names::LABEL_DEADLINE).and_then(|deadline| deadline.parse().ok()) {
        Some(deadline) => Owner::Elsewhere(deadline),
        None => Owner::Nobody,
    }
}

/// Stores of bases that nobody fills any more and that were never filled to the end.
async fn sweep_stores(inner: &Inner) -> Result<usize, EngineError> {
    let mut removed = 0;
    for volume in inner
        .client
        .volumes(&format!("{}={}", names::LABEL_HOST, inner.identity().host))
        .await?
    {
        let Some(base) = names::base_of_volume(&volume.name) else {
            continue;
        };
        // Whoever fills holds this lock; who has filled has left a record.
        let Ok(lock) = File::open(inner.data_dir.join("bases").join(format!("{base}.lock"))) else {
            continue;
        };
        if lock.try_lock().is_ok() && !inner.data_dir.join("volumes").join(&volume.name).exists() {
            removed += count(inner.client.remove_volume(&volume.name).await);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> Identity {
        Identity {
            host: "hhhhhhhh".to_owned(),
            instance: "jjjjjjjj".to_owned(),
        }
    }

    fn labels(instance: &str, host: &str, deadline: &str) -> HashMap<String, String> {
        [
            (names::LABEL_INSTANCE, instance),
            (names::LABEL_HOST, host),
            (names::LABEL_DEADLINE, deadline),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn only_a_name_and_a_label_that_agree_make_an_object_ours() {
        let ours = labels("aaaaaaaa", "hhhhhhhh", "5");
        assert_eq!(owner("st-run-aaaaaaaa-x-1", &ours, &who()), Owner::Here("aaaaaaaa"));
        assert_eq!(owner("st-run-bbbbbbbb-x-1", &ours, &who()), Owner::Nobody);
        assert_eq!(owner("somebody-elses", &ours, &who()), Owner::Nobody);
        assert_eq!(owner("st-run-aaaaaaaa-x-1", &HashMap::new(), &who()), Owner::Nobody);
    }

    #[test]
    fn what_another_data_directory_made_is_judged_by_its_deadline_alone() {
        let theirs = labels("aaaaaaaa", "gggggggg", "5");
        assert_eq!(owner("st-run-aaaaaaaa-x-1", &theirs, &who()), Owner::Elsewhere(5));
        let endless = labels("aaaaaaaa", "gggggggg", "never");
        assert_eq!(owner("st-run-aaaaaaaa-x-1", &endless, &who()), Owner::Nobody);
    }
}
