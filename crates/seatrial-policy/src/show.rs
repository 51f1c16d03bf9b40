//! The policy in force, as text that can be read back without loss.

use bytesize::ByteSize;
use toml::Value;

use crate::Policy;

pub(crate) fn to_toml(policy: &Policy) -> String {
    // Every type here serialises to TOML; a failure would be a defect, and is told instead of hidden.
    let mut shown = to_value(policy)
        .and_then(|value| toml::to_string(&value))
        .unwrap_or_else(|why| format!("# the policy cannot be shown: {why}\n"));
    for text in &policy.rego.texts {
        // A name is a path, which may hold anything.
        shown.push_str(&format!(
            "# rego.files {}: {}\n",
            text.name.escape_debug(),
            text.digest()
        ));
    }
    shown
}

/// The same as a value.
pub(crate) fn to_value(policy: &Policy) -> Result<Value, toml::ser::Error> {
    let mut value = Value::try_from(policy)?;
    exact_sizes(&mut value, policy);
    Ok(value)
}

/// `bytesize` rounds what it prints: 1,500 bytes would come back as 1,536.
fn exact_sizes(value: &mut Value, policy: &Policy) {
    let limits = &policy.limits;
    if let Some(place) = value.get_mut("egress").and_then(|table| table.get_mut("bytes")) {
        *place = Value::String(exact(policy.egress.bytes));
    }
    if let Some(place) = value.get_mut("rego").and_then(|table| table.get_mut("memory")) {
        *place = Value::String(exact(policy.rego.memory));
    }
    for (path, size) in [
        (&["dockerfile"][..], limits.dockerfile),
        (&["context"], limits.context),
        (&["inputs"], limits.inputs),
        (&["log"], limits.log),
        (&["result"], limits.result),
        (&["build", "memory"], limits.build.memory),
        (&["build", "store"], limits.build.store),
        (&["build", "layers"], limits.build.layers),
        (&["scan", "memory"], limits.scan.memory),
        (&["run", "memory"], limits.run.memory),
        (&["run", "tmp"], limits.run.tmp),
        (&["run", "data"], limits.run.data),
    ] {
        let mut place = value.get_mut("limits");
        for key in path {
            place = place.and_then(|table| table.get_mut(*key));
        }
        if let Some(place) = place {
            *place = Value::String(exact(size));
        }
    }
}

pub(crate) fn exact(size: ByteSize) -> String {
    let bytes = size.as_u64();
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> jiff::Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn what_is_shown_is_read_back_without_loss() {
        assert_eq!(
            Policy::parse(&Policy::default().to_toml(), now()).unwrap(),
            Policy::default()
        );
        let text = "version = 1\n[network]\nbuild = \"egress\"\n[egress]\nallow = [\"pypi.org\"]\nbytes = 1500\n[limits]\nlog = 1500\n[limits.run]\ntime = \"90s\"\n[vulnerabilities]\nmax_database_age = \"36h\"\n[analysis.levels]\nST003 = \"off\"\n[[waivers]]\nrule = \"CVE-1-2\"\nreason = \"r\"\nowner = \"o\"\nexpires = 2027-01-01\n";
        let policy = Policy::parse(text, now()).unwrap();
        assert_eq!(Policy::parse(&policy.to_toml(), now()).unwrap(), policy);
    }

    #[test]
    fn sizes_are_shown_exactly() {
        assert_eq!(exact(ByteSize::gib(4)), "4GiB");
        assert_eq!(exact(ByteSize::mib(1536)), "1536MiB");
        assert_eq!(exact(ByteSize(1500)), "1500B");
    }
}
