//! Removes what processes that died left behind.
//!
//! An object is removed when its NAME is of our making and names an instance, its label names the
//! same instance, and that instance is dead: its lock in our data directory is free. Labels alone
//! prove nothing: an image of a guest's may carry them. Objects of other data directories are left
//! to their owners until an hour after the deadline that they carry.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    time::Duration,
};

use bollard::models::Volume;
use jiff::Timestamp;
use seatrial_core::engine::{EngineError, Swept};

use crate::{
    base, data,
    engine::Inner,
    instance,
    janitor::Chore,
    names::{self, Identity},
    record,
};

/// How long after its deadline an object of an unknown process is nobody's.
const FOREIGN_GRACE: Duration = Duration::from_secs(3600);
/// How old a store must be before it may count as replaced: longer than any job lasts.
const REPLACED_FOR: Duration = Duration::from_secs(data::LIFE_S);

/// Finds what is left and hands it to the janitor, who tries again what is busy: the Engine may
/// still be removing a container when its process is dead already.
pub(crate) async fn sweep(inner: &Inner) -> Result<Swept, EngineError> {
    let mut left = Chore {
        confirmed: true,
        ..Chore::default()
    };
    let now = Timestamp::now().as_second();
    let no_labels = HashMap::new();
    for container in inner.client.containers(names::LABEL_INSTANCE).await? {
        let labels = container.labels.as_ref().unwrap_or(&no_labels);
        let all = container.names.unwrap_or_default();
        let name = all.first().map(|name| name.trim_start_matches('/'));
        if let Some(name) = name.filter(|name| is_left_behind(inner, name, labels, now)) {
            left.containers.push(name.to_owned());
        }
    }
    for volume in inner.client.volumes(names::LABEL_INSTANCE).await? {
        if is_left_behind(inner, &volume.name, &volume.labels, now) {
            left.volumes.push(volume.name);
        }
    }
    left.volumes.extend(left_stores(inner).await?);
    for image in inner.client.images(&format!("{}*", names::JOB_TAG_PREFIX)).await? {
        let dead = image
            .repo_tags
            .into_iter()
            .filter(|tag| names::instance_of_tag(tag, inner.identity()).is_some_and(|who| is_dead(inner, who)));
        left.tags.extend(dead);
    }
    instance::forget_the_dead(&inner.data_dir);
    let swept = Swept {
        containers: left.containers.len(),
        volumes: left.volumes.len(),
        images: left.tags.len(),
    };
    if swept != Swept::default() {
        inner.janitor.take(left);
    }
    Ok(swept)
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

/// Stores of bases that nobody fills any more and that were never filled to the end, and those that
/// another store of the same base has replaced long ago. What is remembered of stores that the Engine
/// does not have any more is forgotten.
async fn left_stores(inner: &Inner) -> Result<Vec<String>, EngineError> {
    let ours = format!("{}={}", names::LABEL_HOST, inner.identity().host);
    let mut left = Vec::new();
    // Read before the volumes are: a store is made before anything is remembered of it.
    let remembered = record::stores(&inner.data_dir);
    let volumes = inner.client.volumes(&ours).await?;
    for name in missing(remembered, &volumes) {
        record::forget_store(&inner.data_dir, &name);
    }
    for volume in volumes {
        let Some(base) = names::base_of_volume(&volume.name) else {
            continue;
        };
        // Whoever fills holds this lock; who has filled has left a record.
        let Ok(lock) = File::open(inner.data_dir.join("bases").join(format!("{base}.lock"))) else {
            continue;
        };
        if lock.try_lock().is_ok() && (!record::exists(inner, &volume.name) || is_replaced(inner, &volume.name)) {
            left.push(volume.name);
        }
    }
    Ok(left)
}

fn missing(remembered: BTreeSet<String>, volumes: &[Volume]) -> Vec<String> {
    let is_there = |name: &String| volumes.iter().any(|volume| volume.name == *name);
    remembered.into_iter().filter(|name| !is_there(name)).collect()
}

/// Whether no record of a base names this store, and none has for so long that no job that began
/// with it can still be on its way.
fn is_replaced(inner: &Inner, volume: &str) -> bool {
    let age = record::age(inner, volume);
    age.is_some_and(|age| age > REPLACED_FOR) && !base::names_store(inner, volume)
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
    fn a_store_is_missing_when_the_engine_does_not_have_it() {
        let there = Volume {
            name: "st-base-a-1".to_owned(),
            ..Volume::default()
        };
        let remembered = ["st-base-a-1", "st-base-a-2"].map(str::to_owned).into();
        assert_eq!(missing(remembered, &[there]), ["st-base-a-2"]);
    }

    #[test]
    fn what_another_data_directory_made_is_judged_by_its_deadline_alone() {
        let theirs = labels("aaaaaaaa", "gggggggg", "5");
        assert_eq!(owner("st-run-aaaaaaaa-x-1", &theirs, &who()), Owner::Elsewhere(5));
        let endless = labels("aaaaaaaa", "gggggggg", "never");
        assert_eq!(owner("st-run-aaaaaaaa-x-1", &endless, &who()), Owner::Nobody);
    }
}
