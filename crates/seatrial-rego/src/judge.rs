//! The interpreter: the operator's files and one input to results. Runs in the child alone.

use std::collections::{BTreeMap, BTreeSet};

use regorus::{
    Engine, Value,
    unstable::{Expr, Rule, RuleHead},
};
use seatrial_core::finding::Level;
use seatrial_policy::rego::{Form, Text};

use crate::{
    builtins,
    builtins::{Unread, member},
    metadata::{self, Metadata},
    wire::{Failure, Hit, MAX_HITS, MAX_MESSAGE, Request, cut},
};

mod refused;
mod some;

/// A package with rules that say what is wrong.
struct Check {
    /// `data.user.tools`.
    path: String,
    /// `user.tools`.
    package: String,
    /// The file in which it begins.
    file: String,
    /// `deny`, `warn_tag` and so on, each with its file.
    rules: BTreeMap<String, String>,
    /// Other rules that we ask for.
    others: BTreeSet<String>,
    metadata: Metadata,
}

/// Works every check out. `tell` is told what is looked at next: who watches knows then where it ended.
pub(crate) fn judge(request: Request, tell: &mut dyn FnMut(&str)) -> Result<Vec<Hit>, Failure> {
    let Request {
        texts,
        form,
        namespaces,
        input,
    } = request;
    let mut loaded = load(&texts, tell)?;
    let mut checks = checks(&loaded.engine, &texts)?;
    for name in &namespaces {
        let one = std::slice::from_ref(name);
        if !checks.iter().any(|check| is_asked(form, one, &check.package)) {
            return Err(Failure::of(nobody(&format!("the package {name} has no rule"))));
        }
    }
    checks.retain(|check| is_asked(form, &namespaces, &check.package));
    if checks.is_empty() {
        return Err(Failure::of(nobody(match form {
            Form::Conftest => "the package main has no rule",
            Form::Trivy => "no file of checks has a rule",
        })));
    }
    loaded.engine.set_input(Value::from(input));
    let mut hits = Vec::new();
    let mut is_for_dockerfiles = false;
    for check in &mut checks {
        tell(&check.file);
        describe(&mut loaded, check)?;
        if !check.metadata.kinds.is_empty() && !check.metadata.kinds.iter().any(|kind| kind == "dockerfile") {
            continue;
        }
        is_for_dockerfiles = true;
        let excepted = exceptions(&mut loaded, check)?;
        for (rule, file) in &check.rules {
            if excepted.contains(suffix(rule)) {
                continue;
            }
            tell(&format!("{file}, rule {}.{rule}", check.package));
            let value = loaded.ask(check, rule, file)?;
            take(form, check, rule, file, &value, &mut hits)?;
        }
    }
    if !is_for_dockerfiles {
        return Err(Failure::of(
            "no check is for Dockerfiles: the selectors of all name other kinds",
        ));
    }
    Ok(hits)
}

/// The interpreter with all files.
struct Loaded {
    engine: Engine,
    unread: Unread,
}

impl Loaded {
    fn ask(&mut self, check: &Check, rule: &str, file: &str) -> Result<Value, Failure> {
        let value = self.engine.eval_rule(format!("{}.{rule}", check.path));
        match (value, self.unread.why()) {
            (Ok(value), None) => Ok(value),
            (Err(why), _) => Err(Failure::read(&why.to_string(), file)),
            (Ok(_), Some(why)) => Err(Failure::read(&why, file)),
        }
    }
}

/// Reads the files. Older ones are in the language before its version 1, and do not say so.
fn load(texts: &[Text], tell: &mut dyn FnMut(&str)) -> Result<Loaded, Failure> {
    let mut engine = Engine::new();
    // As OPA does: a function that cannot work with what it is given has no result.
    engine.set_strict_builtin_errors(false);
    engine.set_gather_prints(true);
    let unread = builtins::add(&mut engine).map_err(Failure::of)?;
    for Text { name, text } in texts {
        tell(name);
        refused::check(name, text)?;
        let Err(new) = add(&mut engine, name, text, false) else {
            continue;
        };
        if let Err(old) = add(&mut engine, name, text, true) {
            let (new, old) = (Failure::read(&new, name), Failure::read(&old, name));
            // The one that came further is in the language that was meant.
            let is_old = old.place > new.place || new.why.contains("`if` keyword");
            return Err(if is_old { old } else { new });
        }
    }
    Ok(Loaded { engine, unread })
}

fn add(engine: &mut Engine, name: &str, text: &str, is_v0: bool) -> Result<(), String> {
    let text = some::first(name, text, is_v0)?;
    engine.set_rego_v0(is_v0);
    engine
        .add_policy(name.to_owned(), text)
        .map(drop)
        .map_err(|why| why.to_string())
}

fn checks(engine: &Engine, texts: &[Text]) -> Result<Vec<Check>, Failure> {
    let packages = engine
        .get_policy_package_components()
        .map_err(|why| Failure::of(why.to_string()))?;
    // The interpreter shows its modules only to one that may change it.
    let mut copy = engine.clone();
    let mut found: BTreeMap<String, Check> = BTreeMap::new();
    for ((package, module), Text { name, text }) in packages.into_iter().zip(copy.get_modules().iter()).zip(texts) {
        let path = path(&package.components);
        let check = found.entry(path.clone()).or_insert_with(|| Check {
            path,
            package: package.components.join("."),
            file: name.clone(),
            rules: BTreeMap::new(),
            others: BTreeSet::new(),
            metadata: Metadata::default(),
        });
        for rule in &module.policy {
            let Some(rule) = rule_name(rule) else { continue };
            if level(&rule).is_some() {
                check.rules.entry(rule).or_insert_with(|| name.clone());
            } else if matches!(&*rule, "exception" | "__rego_metadata__" | "__rego_input__") {
                check.others.insert(rule);
            }
        }
        if check.metadata == Metadata::default() {
            check.metadata = metadata::read(text).map_err(|why| Failure {
                file: Some(name.clone()),
                place: None,
                why,
            })?;
        }
    }
    Ok(found.into_values().filter(|check| !check.rules.is_empty()).collect())
}

/// `data.a.b`, with what is no plain word in brackets.
fn path(components: &[String]) -> String {
    let plain = |word: &str| {
        word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !word.starts_with(|first: char| first.is_ascii_digit())
    };
    components.iter().fold("data".to_owned(), |path, word| {
        if plain(word) {
            format!("{path}.{word}")
        } else {
            format!("{path}[{}]", serde_json::Value::from(word.as_str()))
        }
    })
}

/// The first word of a rule's head; functions have no value to ask for.
fn rule_name(rule: &Rule) -> Option<String> {
    let mut head = match rule {
        Rule::Spec {
            head: RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. },
            ..
        } => refr,
        Rule::Default { refr, args, .. } if args.is_empty() => refr,
        Rule::Spec { .. } | Rule::Default { .. } => return None,
    };
    loop {
        match head.as_ref() {
            Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => head = refr,
            Expr::Var { span, .. } => return Some(span.text().to_owned()),
            _ => return None,
        }
    }
}

/// What a rule's results weigh by its name; `None` for one that says nothing about the file.
fn level(rule: &str) -> Option<Level> {
    let is = |word: &str| rule == word || rule.strip_prefix(word).is_some_and(|rest| rest.starts_with('_'));
    if is("deny") || is("violation") {
        Some(Level::Error)
    } else if is("warn") {
        Some(Level::Warn)
    } else {
        None
    }
}

/// What an exception calls a rule: `root` for `deny_root`, nothing for `deny`.
fn suffix(rule: &str) -> &str {
    rule.split_once('_').map_or("", |(_, name)| name)
}

fn is_asked(form: Form, namespaces: &[String], package: &str) -> bool {
    match form {
        Form::Conftest if namespaces.is_empty() => package == "main",
        Form::Conftest => namespaces.iter().any(|name| name == package),
        Form::Trivy => {
            let below = |name: &String| {
                package
                    .strip_prefix(&**name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            namespaces.is_empty() || namespaces.iter().any(below)
        }
    }
}

fn nobody(packages: &str) -> String {
    format!("{packages} deny, violation or warn, so nothing would be checked")
}

/// Reads what an older check says of itself in rules instead of a comment, and refuses what it cannot have here.
fn describe(loaded: &mut Loaded, check: &mut Check) -> Result<(), Failure> {
    if check.metadata == Metadata::default() {
        let mut said = |rule: &str| match check.others.contains(rule) {
            true => Ok(serde_json::to_value(loaded.ask(check, rule, &check.file)?).unwrap_or_default()),
            false => Ok(serde_json::Value::Null),
        };
        let (about, input) = (said("__rego_metadata__")?, said("__rego_input__")?);
        check.metadata = Metadata {
            id: metadata::word(&about["id"]).or_else(|| metadata::word(&about["avd_id"])),
            title: metadata::word(&about["title"]),
            severity: metadata::word(&about["severity"]),
            kinds: metadata::kinds(&input["selector"]),
            combines: input["combine"] == true,
        };
    }
    if check.metadata.combines {
        return Err(Failure {
            file: Some(check.file.clone()),
            place: None,
            why: "it asks for all files in one input (combine), and there is one file here".to_owned(),
        });
    }
    Ok(())
}

/// The names of rules whose results the package itself excepts here.
fn exceptions(loaded: &mut Loaded, check: &Check) -> Result<BTreeSet<String>, Failure> {
    if !check.others.contains("exception") {
        return Ok(BTreeSet::new());
    }
    let mut names = BTreeSet::new();
    if let Value::Set(lists) = loaded.ask(check, "exception", &check.file)? {
        for list in lists.iter() {
            if let Value::Array(words) = list {
                let words = words.iter().filter_map(|word| word.as_string().ok());
                names.extend(words.map(ToString::to_string));
            }
        }
    }
    Ok(names)
}

/// Turns what a rule says into results.
fn take(form: Form, check: &Check, rule: &str, file: &str, value: &Value, hits: &mut Vec<Hit>) -> Result<(), Failure> {
    let results: Vec<&Value> = match value {
        Value::Undefined | Value::Bool(false) => return Ok(()),
        Value::Set(set) => set.iter().collect(),
        Value::Array(array) => array.iter().collect(),
        one => vec![one],
    };
    for result in results {
        if hits.len() == MAX_HITS {
            return Err(Failure {
                file: Some(file.to_owned()),
                place: None,
                why: format!("there are more than {MAX_HITS} results"),
            });
        }
        let said = match result {
            Value::String(text) => Some(text.to_string()),
            Value::Object(_) => member(result, "msg").map(|message| match message {
                Value::String(text) => text.to_string(),
                other => other.to_string(),
            }),
            Value::Bool(true) => Some(String::new()),
            // `deny[[msg, cause]]`, as very old checks write it.
            Value::Array(parts) => parts
                .iter()
                .find_map(|part| part.as_string().ok())
                .map(ToString::to_string),
            _ => None,
        };
        let Some(said) = said else {
            return Err(Failure {
                file: Some(file.to_owned()),
                place: None,
                why: format!(
                    "a result of {}.{rule} is neither text nor an object with msg: {}",
                    check.package,
                    cut(&result.to_string(), 80)
                ),
            });
        };
        let message = if said.is_empty() {
            format!("the check {}.{rule} says no", check.package)
        } else {
            said
        };
        let line = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| member(result, name))?;
            let number = found.as_u64().ok().or_else(|| found.as_string().ok()?.parse().ok())?;
            usize::try_from(number).ok()
        };
        let (check_id, level) = weight(form, check, rule);
        hits.push(Hit {
            check: check_id,
            title: check.metadata.title.as_deref().map(|title| cut(title, 256).to_owned()),
            file: file.to_owned(),
            message: cut(&message, MAX_MESSAGE).to_owned(),
            level,
            first_line: line(["startline", "StartLine"]).unwrap_or(0),
            last_line: line(["endline", "EndLine"]).unwrap_or(0),
        });
    }
    Ok(())
}

/// What a check is called, and what its results weigh.
fn weight(form: Form, check: &Check, rule: &str) -> (String, Level) {
    let Metadata { id, severity, .. } = &check.metadata;
    let id = match id {
        Some(id) => id.clone(),
        None if form == Form::Conftest && !suffix(rule).is_empty() => format!("{}.{rule}", check.package),
        None => check.package.clone(),
    };
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let id = id
        .chars()
        .take(100)
        .map(|letter| if plain(letter) { letter } else { '_' })
        .collect();
    let by_name = level(rule).unwrap_or(Level::Error);
    let by_severity = match severity.as_deref().map(str::to_ascii_uppercase).as_deref() {
        Some("LOW") => Level::Info,
        Some("MEDIUM") => Level::Warn,
        // What nobody knows is taken for the worst.
        _ => Level::Error,
    };
    (id, by_name.min(by_severity))
}

#[cfg(test)]
mod tests;
