//! Looks at a Redis before it is used: what its acknowledgements are worth, and who made the ledger.

use std::collections::BTreeMap;

use redis::{Pipeline, RedisError};
use seatrial_core::{
    ledger::{Durability, LedgerError},
    record::SCHEMA,
};

use super::{RedisOptions, keys::Keys, link::Link};

const ACTION: &str = "say how it is set up";

/// What was found out about one Redis; `None` is what this user may not see.
#[derive(Debug, Default, PartialEq)]
struct Facts {
    appendonly: Option<bool>,
    appendfsync: Option<String>,
    policy: Option<String>,
}

/// What an acknowledgement is worth here.
///
/// # Errors
/// [`LedgerError::Unfit`] when that is less than asked for.
pub(super) async fn durability(link: &Link, options: &RedisOptions) -> Result<Durability, LedgerError> {
    let mut info = Pipeline::new();
    info.cmd("INFO").arg("server");
    info.cmd("INFO").arg("persistence");
    info.cmd("INFO").arg("memory");
    let sections: Vec<String> = link.pipe(ACTION, &info).await.map_err(refused)?;
    let info = fields(&sections.concat());
    let version = info.get("redis_version").map_or("", String::as_str);
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < 7) {
        return Err(LedgerError::Unfit(format!(
            "it is Redis {version}; 7.0 or later is needed"
        )));
    }
    let mut facts = Facts {
        appendonly: info.get("aof_enabled").map(|enabled| enabled == "1"),
        appendfsync: None,
        policy: info.get("maxmemory_policy").cloned(),
    };
    let mut config = Pipeline::new();
    config.cmd("CONFIG").arg("GET").arg("appendfsync");
    match link.pipe::<(Vec<String>,)>(ACTION, &config).await {
        Ok((pair,)) => facts.appendfsync = pair.get(1).cloned(),
        Err(error) if is_denied(&error) => {}
        Err(error) => return Err(error),
    }
    judge(&facts, options.allow_loss, options.trust_unseen)
}

fn judge(facts: &Facts, allow_loss: bool, trust_unseen: bool) -> Result<Durability, LedgerError> {
    let mut wrong = Vec::new();
    if facts.appendonly != Some(true) {
        wrong.push("set 'appendonly yes'");
    }
    match facts.appendfsync.as_deref() {
        Some("always") => {}
        None if trust_unseen => {}
        None => wrong.push(
            "set 'appendfsync always' and let this user see it with '+config|get' (a worker may trust it unseen)",
        ),
        Some(_) => wrong.push("set 'appendfsync always'"),
    }
    if facts.policy.as_deref() != Some("noeviction") {
        wrong.push("set 'maxmemory-policy noeviction'");
    }
    if !wrong.is_empty() && !allow_loss {
        return Err(LedgerError::Unfit(format!(
            "this Redis may lose acknowledged jobs: {}; or allow the loss (ledger.allow_loss)",
            wrong.join(", ")
        )));
    }
    let how = match (wrong.is_empty(), facts.appendfsync.is_some()) {
        (true, true) => "append-only file, on disk before each answer; nothing is evicted".to_owned(),
        (true, false) => "append-only file; this user cannot see when it reaches the disk".to_owned(),
        (false, _) => format!("loss is allowed; to exclude it: {}", wrong.join(", ")),
    };
    Ok(Durability {
        kind: "redis",
        durable: wrong.is_empty() && facts.appendfsync.is_some(),
        how,
    })
}

/// Refuses a ledger that a newer Seatrial made, and marks a fresh one.
pub(super) async fn schema(link: &Link, keys: &Keys) -> Result<(), LedgerError> {
    let mut get = Pipeline::new();
    get.cmd("GET").arg(keys.name("schema"));
    let (found,): (Option<u32>,) = link.pipe("tell its schema", &get).await.map_err(refused)?;
    if let Some(schema) = found {
        if schema > SCHEMA {
            return Err(LedgerError::Newer {
                what: "the ledger".to_owned(),
                schema,
            });
        }
        return Ok(());
    }
    let mut set = Pipeline::new();
    set.cmd("SET").arg(keys.name("schema")).arg(SCHEMA).arg("NX");
    match link.pipe::<(Option<String>,)>("note its schema", &set).await {
        // A worker may not write it; the first API process does.
        Err(error) if !is_denied(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether Redis answered that this user may not ask for it.
fn is_denied(error: &LedgerError) -> bool {
    server_code(error).as_deref() == Some("NOPERM")
}

/// The first word of what Redis answered instead of doing it.
fn server_code(error: &LedgerError) -> Option<String> {
    match error {
        LedgerError::Unreachable { source, .. } => {
            let errors = source.downcast_ref::<RedisError>()?.clone().into_server_errors()?;
            errors.first().map(|(_, error)| error.code().to_owned())
        }
        LedgerError::Newer { .. } | LedgerError::Broken { .. } | LedgerError::Unfit(_) => None,
    }
}

/// A refusal while connecting is a matter of set-up, and trying again does not help.
fn refused(error: LedgerError) -> LedgerError {
    let failed = match &error {
        LedgerError::Unreachable { source, .. } => source
            .downcast_ref::<RedisError>()
            .is_some_and(|error| error.kind() == redis::ErrorKind::AuthenticationFailed),
        LedgerError::Newer { .. } | LedgerError::Broken { .. } | LedgerError::Unfit(_) => false,
    };
    match server_code(&error).as_deref() {
        Some(code @ ("NOPERM" | "NOAUTH" | "WRONGPASS")) => LedgerError::Unfit(format!(
            "Redis refuses this user ({code}); compare deploy/redis/users.acl and the user and password in its address"
        )),
        _ if failed => LedgerError::Unfit("Redis refuses this user's name or password".to_owned()),
        _ => error,
    }
}

fn fields(info: &str) -> BTreeMap<String, String> {
    info.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(appendonly: bool, appendfsync: Option<&str>, policy: &str) -> Facts {
        Facts {
            appendonly: Some(appendonly),
            appendfsync: appendfsync.map(str::to_owned),
            policy: Some(policy.to_owned()),
        }
    }

    #[test]
    fn each_weak_setting_is_named() {
        for (facts, named) in [
            (facts(false, Some("always"), "noeviction"), "appendonly yes"),
            (facts(true, Some("everysec"), "noeviction"), "appendfsync always"),
            (
                facts(true, Some("always"), "allkeys-lru"),
                "maxmemory-policy noeviction",
            ),
            (facts(true, None, "noeviction"), "+config|get"),
            (Facts::default(), "appendonly yes"),
        ] {
            let error = judge(&facts, false, false).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
            let allowed = judge(&facts, true, false).unwrap();
            assert!(!allowed.durable && allowed.how.contains(named), "{allowed:?}");
        }
    }

    #[test]
    fn what_is_not_seen_is_not_called_durable() {
        let unseen = judge(&facts(true, None, "noeviction"), false, true).unwrap();
        assert!(!unseen.durable);
        assert!(
            judge(&facts(true, Some("always"), "noeviction"), false, false)
                .unwrap()
                .durable
        );
    }
}
