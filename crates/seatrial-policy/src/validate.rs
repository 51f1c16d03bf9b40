//! What a policy may not say although its words are right.

use std::time::Duration;

use bytesize::ByteSize;
use jiff::{Span, ToSpan as _, civil::Date};
use seatrial_core::{egress::MAX_REQUESTS, limits::MAX_READ};

use crate::{
    Network, Policy, Rego, bases, egress, expressions,
    parse::{self, Complaint},
    rego,
};

/// Most patterns, waivers and levels: a policy is read for each decision.
const MAX_ENTRIES: usize = 10_000;
/// Most processes, and files in `/data`: the kernel's own bound of process numbers.
const MAX_NUMBER: u32 = 4 << 20;
/// The shortest time: no container starts in less.
const MIN_TIME: Duration = Duration::from_millis(100);
/// Longest time of one stage. The scanner waits for a whole build and then scans, and our static
/// binary counts no more than a day.
const MAX_TIME: Duration = Duration::from_secs(7 * 60 * 60);
/// Largest size, in bytes: sums and small multiples of sizes stay far from what a number can hold.
const MAX_SIZE: u64 = 1 << 40;

/// A waiver without an end is a level that hides.
fn longest_waiver() -> Span {
    2.years()
}

pub(crate) fn validate(policy: &Policy, today: Date) -> Vec<Complaint> {
    let mut complaints = Complaints(Vec::new());
    if policy.version != 1 {
        complaints.add(
            "version",
            format!("version {} is not known", policy.version),
            "write version = 1",
        );
    }
    check_waivers(policy, today, &mut complaints);
    check_expressions(policy, &mut complaints);
    check_rego(&policy.rego, &mut complaints);
    check_bases(policy, &mut complaints);
    check_egress(policy, &mut complaints);
    check_user(policy, &mut complaints);
    if policy.vulnerabilities.max_database_age.is_zero() {
        complaints.add(
            "vulnerabilities.max_database_age",
            "an age of 0 refuses every database",
            "write it like 7d",
        );
    }
    check_limits(policy, &mut complaints);
    complaints.0
}

struct Complaints(Vec<Complaint>);

impl Complaints {
    fn add(&mut self, path: &str, message: impl Into<String>, remedy: &str) {
        self.0.push(Complaint {
            path: parse::steps(path),
            message: message.into(),
            remedy: Some(remedy.to_owned()),
        });
    }
}

fn check_waivers(policy: &Policy, today: Date, complaints: &mut Complaints) {
    if policy.waivers.len() > MAX_ENTRIES {
        complaints.add(
            "waivers",
            format!("there are more than {MAX_ENTRIES} waivers"),
            "remove the expired ones",
        );
    }
    for (index, waiver) in policy.waivers.iter().enumerate() {
        for (article, key, text) in [("a", "reason", &waiver.reason), ("an", "owner", &waiver.owner)] {
            if text.trim().is_empty() {
                complaints.add(
                    &format!("waivers.{index}.{key}"),
                    format!("a waiver needs {article} {key}"),
                    "say it in words",
                );
            }
        }
        if today
            .checked_add(longest_waiver())
            .is_ok_and(|last| waiver.expires > last)
        {
            complaints.add(
                &format!("waivers.{index}.expires"),
                "a waiver ends within two years, so that somebody looks again",
                "set an earlier day, or set the rule's level in [analysis.levels]",
            );
        }
        if waiver.matches.as_deref().is_some_and(|part| part.trim().is_empty()) {
            complaints.add(
                &format!("waivers.{index}.match"),
                "an empty match says nothing",
                "leave it out to waive the rule everywhere",
            );
        }
    }
}

fn check_expressions(policy: &Policy, complaints: &mut Complaints) {
    for (index, expression) in policy.expressions.iter().enumerate() {
        let earlier = &policy.expressions[..index];
        if earlier.iter().any(|other| other.name == expression.name) {
            complaints.add(
                &format!("expressions.{index}.name"),
                format!("there are two expressions {}", expression.name),
                "give one of them another name",
            );
        }
    }
    for (index, waiver) in policy.waivers.iter().enumerate() {
        if let Some(name) = waiver.rule.strip_prefix(expressions::PREFIX)
            && !policy.expressions.iter().any(|expression| expression.name == name)
        {
            complaints.add(
                &format!("waivers.{index}.rule"),
                format!("there is no expression {}", name.escape_debug()),
                "name one of [[expressions]], or remove the waiver",
            );
        }
    }
    let price = expressions::price(policy);
    if price > expressions::MAX_COST {
        complaints.add(
            "expressions",
            format!(
                "the expressions may take {price} steps together, and {} are allowed",
                expressions::MAX_COST
            ),
            "loop over fewer things at once",
        );
    }
    if policy.expressions.len() > expressions::MAX_EXPRESSIONS {
        complaints.add(
            "expressions",
            format!("there are more than {} expressions", expressions::MAX_EXPRESSIONS),
            "join some with ||",
        );
    }
}

fn check_rego(rego: &Rego, complaints: &mut Complaints) {
    for (key, count) in [("files", rego.files.len()), ("namespaces", rego.namespaces.len())] {
        if count > rego::MAX_ENTRIES {
            let most = rego::MAX_ENTRIES;
            complaints.add(
                &format!("rego.{key}"),
                format!("there are more than {most} entries"),
                "name folders",
            );
        }
    }
    let is_package = |name: &String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
        (1..=128).contains(&name.len()) && name.bytes().all(plain) && name != "data" && !name.starts_with("data.")
    };
    for (index, name) in rego.namespaces.iter().enumerate() {
        if !is_package(name) {
            complaints.add(
                &format!("rego.namespaces.{index}"),
                format!("'{}' is no package", name.escape_debug()),
                "write it like main or user.dockerfile, without data.",
            );
        }
    }
    let bytes: usize = rego.texts.iter().map(|text| text.text.len()).sum();
    if rego.texts.len() > rego::MAX_TEXTS || bytes > rego::MAX_BYTES {
        complaints.add(
            "rego.files",
            format!(
                "these are {} files with {bytes} bytes, and {} files with {} bytes are allowed",
                rego.texts.len(),
                rego::MAX_TEXTS,
                rego::MAX_BYTES
            ),
            "name only what checks of Dockerfiles need",
        );
    }
    if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&rego.deadline) {
        complaints.add("rego.deadline", "it must be between 100ms and 60s", "write it like 5s");
    }
    if !(64 << 20..=4 << 30).contains(&rego.memory.as_u64()) {
        complaints.add(
            "rego.memory",
            "it must be between 64MiB and 4GiB",
            "write it like 256MiB",
        );
    }
}

fn check_bases(policy: &Policy, complaints: &mut Complaints) {
    if policy.bases.allow.len() > MAX_ENTRIES {
        complaints.add(
            "bases.allow",
            format!("there are more than {MAX_ENTRIES} patterns"),
            "use * and **",
        );
    }
    for (index, pattern) in policy.bases.allow.iter().enumerate() {
        if let Err(why) = bases::check_pattern(pattern) {
            complaints.add(
                &format!("bases.allow.{index}"),
                format!("'{}' {why}", pattern.escape_debug()),
                "write completed names like docker.io/library/* or registry.example:5000/team/**",
            );
        }
    }
}

fn check_egress(policy: &Policy, complaints: &mut Complaints) {
    let rules = &policy.egress;
    for (key, network) in [("build", policy.network.build), ("run", policy.network.run)] {
        if network == Network::Egress && rules.allow.is_empty() {
            complaints.add(
                &format!("network.{key}"),
                "a way out to nobody: egress.allow is empty",
                "list the hosts that may be reached in [egress] allow, or write \"none\"",
            );
        }
    }
    let entries = [("allow", &rules.allow), ("also", &rules.also)];
    for (key, list) in entries {
        if list.len() > egress::MAX_ENTRIES {
            complaints.add(
                &format!("egress.{key}"),
                format!("there are more than {} entries", egress::MAX_ENTRIES),
                "use *. for all names below one, and larger networks",
            );
        }
        for (index, entry) in list.iter().enumerate() {
            let (checked, remedy) = match key {
                "allow" => (egress::check_host(entry), "write it like pypi.org or *.debian.org:80"),
                _ => (egress::check_network(entry), "write it like 10.1.0.0/16 or 10.1.2.3"),
            };
            if let Err(why) = checked {
                complaints.add(
                    &format!("egress.{key}.{index}"),
                    format!("'{}' {why}", entry.escape_debug()),
                    remedy,
                );
            }
        }
    }
    if rules.bytes.as_u64() == 0 || rules.bytes.as_u64() > MAX_SIZE {
        complaints.add(
            "egress.bytes",
            "a size must be more than 0 and at most 1TiB",
            "write a size like 256MiB, or network \"none\"",
        );
    }
    if rules.requests == 0 || rules.requests > MAX_REQUESTS {
        complaints.add(
            "egress.requests",
            format!("a stage may make from 1 to {MAX_REQUESTS} requests"),
            "write a number, or network \"none\"",
        );
    }
}

fn check_user(policy: &Policy, complaints: &mut Complaints) {
    let id = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<u32>().ok()).flatten()
    };
    let user = policy.run.user.as_str();
    let Some((Some(uid), Some(gid))) = user.split_once(':').map(|(uid, gid)| (id(uid), id(gid))) else {
        complaints.add(
            "run.user",
            format!("'{}' is not uid:gid", user.escape_debug()),
            "write it like 65532:65532",
        );
        return;
    };
    // -1 means "leave it as it is" to the kernel, which here would be root.
    if uid == 0 || gid == 0 || uid == u32::MAX || gid == u32::MAX {
        complaints.add("run.user", "the guest never runs as root", "write it like 65532:65532");
    }
}

fn check_limits(policy: &Policy, complaints: &mut Complaints) {
    let limits = &policy.limits;
    let (build, scan, run) = (&limits.build, &limits.scan, &limits.run);
    for (path, size) in [
        ("limits.dockerfile", limits.dockerfile),
        ("limits.context", limits.context),
        ("limits.inputs", limits.inputs),
        ("limits.log", limits.log),
        ("limits.result", limits.result),
        ("limits.build.memory", build.memory),
        ("limits.build.store", build.store),
        ("limits.build.layers", build.layers),
        ("limits.scan.memory", scan.memory),
        ("limits.run.memory", run.memory),
        ("limits.run.tmp", run.tmp),
        ("limits.run.data", run.data),
    ] {
        if size.as_u64() == 0 {
            complaints.add(path, "0 lets nothing pass", "write a size like 64MiB");
        } else if size.as_u64() > MAX_SIZE {
            complaints.add(path, "a size is at most 1TiB", "write a size like 64MiB");
        }
    }
    for (path, time) in [
        ("limits.build.time", build.time),
        ("limits.scan.time", scan.time),
        ("limits.run.time", run.time),
    ] {
        if !(MIN_TIME..=MAX_TIME).contains(&time) {
            complaints.add(path, "a time is from 0.1s to 7h", "write it like 90s or 15m");
        }
    }
    for (path, cpus) in [
        ("limits.build.cpus", build.cpus),
        ("limits.scan.cpus", scan.cpus),
        ("limits.run.cpus", run.cpus),
    ] {
        // Docker takes no less than a hundredth of a core.
        if !(0.01..=1024.0).contains(&cpus) {
            complaints.add(path, "cpus must be from 0.01 to 1024", "write 1.0 for one core");
        }
    }
    for (path, pids) in [
        ("limits.build.pids", build.pids),
        ("limits.scan.pids", scan.pids),
        ("limits.run.pids", run.pids),
        ("limits.run.data_files", run.data_files),
    ] {
        if pids == 0 {
            complaints.add(path, "0 lets nothing pass", "write a number above 0");
        } else if pids > MAX_NUMBER {
            complaints.add(path, format!("it is at most {MAX_NUMBER}"), "write a smaller number");
        }
    }
    let too_large = [
        (
            "limits.build.store",
            build.store,
            build.memory,
            "limits.build.memory, in which it lives",
        ),
        (
            "limits.run.data",
            sum(run.tmp, run.data),
            run.memory,
            "limits.run.memory, in which it lives, together with limits.run.tmp",
        ),
        (
            "limits.result",
            limits.result,
            run.data,
            "limits.run.data, in which it lives",
        ),
        (
            "limits.result",
            limits.result,
            ByteSize(MAX_READ),
            "64 MiB, the most that is read of one file",
        ),
        (
            "limits.dockerfile",
            limits.dockerfile,
            ByteSize::mib(1),
            "1 MiB, the most that is read",
        ),
    ];
    for (path, value, most, what) in too_large {
        if value > most {
            complaints.add(
                path,
                format!("it is more than {what}"),
                "make it smaller, or raise the other",
            );
        }
    }
}

fn sum(a: ByteSize, b: ByteSize) -> ByteSize {
    ByteSize(a.as_u64().saturating_add(b.as_u64()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use crate::{Policy, names::tests::known};

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn refused(line: &str, says: &str) {
        let refusal = Policy::parse_knowing(&format!("version = 1\n{line}\n"), now(), &known(&["ST003", "ST040"]))
            .unwrap_err()
            .to_string();
        assert!(refusal.contains(says), "{line}: {refusal}");
    }

    #[test]
    fn a_waiver_needs_a_known_rule_a_reason_and_an_owner() {
        let waiver = |rule: &str, reason: &str, owner: &str| {
            format!(
                "[[waivers]]\nrule = \"{rule}\"\nreason = \"{reason}\"\nowner = \"{owner}\"\nexpires = \"2027-01-01\""
            )
        };
        refused(&waiver("ST099x", "r", "o"), "neither a rule");
        refused(&waiver("ST004", "r", "o"), "neither a rule");
        refused(&waiver("cve-2023-1", "r", "o"), "neither a rule");
        refused(&waiver("ST003", " ", "o"), "needs a reason");
        refused(&waiver("ST003", "r", ""), "needs an owner");
        for good in ["ST003", "CVE-2023-45853", "GHSA-abcd-ef12-34gh", "secret:github-pat"] {
            assert!(
                Policy::parse_knowing(
                    &format!("version = 1\n{}", waiver(good, "r", "o")),
                    now(),
                    &known(&["ST003"])
                )
                .is_ok()
            );
        }
    }

    #[test]
    fn a_waiver_of_what_a_script_does_takes_no_match() {
        let waiver = |rule: &str, matches: &str| {
            format!("[[waivers]]\nrule = \"{rule}\"\n{matches}reason = \"r\"\nowner = \"o\"\nexpires = \"2027-01-01\"")
        };
        let matches = "match = \"https://good.example/\"\n";
        for rule in ["ST400", "ST401", "ST420"] {
            let with = format!("version = 1\n{}", waiver(rule, matches));
            let error = Policy::parse(&with, now()).unwrap_err().to_string();
            assert!(error.contains("takes no match"), "{error}");
            let without = format!("version = 1\n{}", waiver(rule, ""));
            assert!(Policy::parse(&without, now()).is_ok(), "{rule}");
        }
        for rule in ["ST015", "ST257", "ST451"] {
            let with = format!("version = 1\n{}", waiver(rule, matches));
            assert!(Policy::parse(&with, now()).is_ok(), "{rule}");
        }
    }

    #[test]
    fn a_waiver_without_expiry_is_refused() {
        refused(
            "[[waivers]]\nrule = \"ST003\"\nreason = \"r\"\nowner = \"o\"",
            "missing field `expires`",
        );
    }

    #[test]
    fn what_was_not_understood_can_neither_be_waived_nor_lowered() {
        refused("[analysis.levels]\nST040 = \"warn\"", "always an error");
        refused(
            "[[waivers]]\nrule = \"ST040\"\nreason = \"r\"\nowner = \"o\"\nexpires = \"2027-01-01\"",
            "cannot be waived",
        );
    }

    #[test]
    fn a_level_of_an_unknown_rule_is_refused() {
        refused("[analysis.levels]\nDL3006 = \"off\"", "no rule DL3006");
    }

    #[test]
    fn the_guest_is_never_root() {
        for user in [
            "0:0",
            "0:1",
            "1:0",
            "root",
            "65532",
            "1:2:3",
            "-1:1",
            "+1:1",
            "4294967295:1",
            "",
        ] {
            refused(&format!("[run]\nuser = \"{user}\""), "");
            assert!(
                Policy::parse(&format!("version = 1\n[run]\nuser = \"{user}\""), now()).is_err(),
                "{user}"
            );
        }
    }

    #[test]
    fn a_way_out_leads_to_names_and_is_bounded() {
        refused("[network]\nrun = \"egress\"", "egress.allow is empty");
        refused(
            "[egress]\nallow = [\"pypi.org\", \"10.0.0\"]",
            "line 3, column 22: '10.0.0' is not the name",
        );
        refused("[egress]\nallow = [\"*.org\"]", "top-level domain");
        refused("[egress]\nalso = [\"0.0.0.0/0\"]", "no network has");
        refused("[egress]\nbytes = \"0B\"", "more than 0");
        refused("[egress]\nrequests = 1001", "from 1 to 1000");
        refused("[egress]\nhosts = []", "unknown field");
        refused("[egress]\nresolver = \"10.1.0.53\"", "socket address");
        let text = "version = 1\n[network]\nbuild = \"egress\"\n[egress]\nallow = [\"pypi.org\", \"*.debian.org:80\"]";
        let policy = Policy::parse(text, now()).unwrap();
        let seen = seatrial_core::egress::EgressLog::default();
        let way = policy.way_out(policy.network.build, seen.clone()).unwrap();
        assert_eq!((way.allow.len(), way.bytes, way.requests), (2, 256 << 20, 1000));
        assert!(policy.way_out(policy.network.run, seen).is_none());
    }

    #[test]
    fn limits_are_neither_zero_nor_larger_than_what_holds_them() {
        refused("[limits.build]\npids = 0", "0 lets nothing pass");
        refused("[limits.run]\ntime = \"0s\"", "from 0.1s to 7h");
        refused("[limits]\ncontext = \"16EiB\"", "at most 1TiB");
        refused("[limits]\ninputs = 0", "0 lets nothing pass");
        refused("[limits.run]\npids = 4294967295", "at most 4194304");
        refused("[limits.build]\ntime = \"8h\"", "to 7h");
        refused("[limits.scan]\nmemory = \"2TiB\"", "at most 1TiB");
        refused("[limits.run]\ncpus = 0", "from 0.01");
        refused("[limits.run]\ncpus = nan", "from 0.01");
        refused("[limits.build]\nstore = \"5GiB\"", "limits.build.memory");
        refused("[limits.run]\ndata = \"500MiB\"", "limits.run.memory");
        refused("[limits]\nresult = \"65MiB\"", "limits.run.data");
        refused(
            "[limits]\nresult = \"65MiB\"\n[limits.run]\ndata = \"100MiB\"",
            "64 MiB, the most that is read",
        );
        refused("[limits]\ndockerfile = \"2MiB\"", "1 MiB");
        refused("[limits]\nlog = \"many\"", "write a size");
    }

    #[test]
    fn a_waiver_ends_within_two_years() {
        refused(
            "[[waivers]]\nrule = \"ST003\"\nreason = \"r\"\nowner = \"o\"\nexpires = \"2028-11-24\"",
            "within two years",
        );
        assert!(
            Policy::parse(
                "version = 1\n[[waivers]]\nrule = \"ST003\"\nreason = \"r\"\nowner = \"o\"\nexpires = \"2028-11-23\"",
                now()
            )
            .is_ok()
        );
    }

    #[test]
    fn an_unknown_version_is_refused() {
        assert!(Policy::parse("version = 2", now()).is_err());
    }
}
