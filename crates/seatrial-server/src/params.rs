//! Parameters of a query and of a path, read strictly: what is not understood is not ignored.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::{Uri, request::Parts},
};
use seatrial_core::{finding::escape_untrusted, id::JobId};

use crate::problem::{Code, Problem, ProblemError, no_such_job};

/// Largest number that the API takes: what others call an `int64`.
pub(crate) const MAX_NUMBER: u64 = u64::MAX / 2;

/// The parameters of a query, each at most once, all of them known.
pub(crate) struct Query {
    values: BTreeMap<&'static str, String>,
    errors: Vec<ProblemError>,
}

impl Query {
    /// Reads the query of a URI.
    pub(crate) fn parse(uri: &Uri, known: &[&'static str]) -> Self {
        let mut query = Self {
            values: BTreeMap::new(),
            errors: Vec::new(),
        };
        let text = uri.query().unwrap_or_default();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let Some(known) = known.iter().find(|known| **known == name) else {
                let name: String = name.chars().take(64).collect();
                query.wrong(&escape_untrusted(&name), "there is no such parameter");
                continue;
            };
            if query.values.insert(known, value.into_owned()).is_some() {
                query.wrong(known, "it stands twice");
            }
        }
        query
    }

    /// Notes that a parameter cannot be used.
    pub(crate) fn wrong(&mut self, name: &str, why: impl Into<String>) {
        self.errors.push(ProblemError::parameter(name, why));
    }

    #[cfg(test)]
    /// A parameter as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A parameter that `read` understands; `what` says what it must be.
    pub(crate) fn read<T>(&mut self, name: &str, what: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.values.get(name)?;
        let value = read(text);
        if value.is_none() {
            self.wrong(name, format!("it must be {what}"));
        }
        value
    }

    /// A number within bounds.
    pub(crate) fn number<T>(&mut self, name: &str, least: T, most: T) -> Option<T>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        self.read(name, &format!("a number from {least} to {most}"), |text| {
            // `+5` is a number for Rust and not for anybody else.
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|_| digits)?;
            (least..=most).contains(&number).then_some(number)
        })
    }

    /// `true` or `false`; false without it.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        self.read(name, "true or false", |text| text.parse::<bool>().ok())
            .unwrap_or_default()
    }

    /// Says everything that is wrong.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self
            .errors
            .iter()
            .take(3)
            .map(|error| format!("{}: {}", error.parameter.as_deref().unwrap_or_default(), error.detail))
            .collect();
        Err(Problem::new(Code::BadParameter, format!("{}.", names.join("; "))).with_errors(self.errors))
    }
}

/// The job in a path. What is not an id names no job.
pub(crate) struct JobPath(pub(crate) JobId);

/// The job and a name behind it.
pub(crate) struct NamedPath(pub(crate) JobId, pub(crate) String);

async fn path_value<S: Sync + Send>(parts: &mut Parts, state: &S, wanted: &str) -> Result<String, Problem> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| no_such_job())?;
    let found = params.iter().find(|(name, _)| *name == wanted);
    found.map(|(_, value)| value.to_owned()).ok_or_else(no_such_job)
}

async fn job<S: Sync + Send>(parts: &mut Parts, state: &S) -> Result<JobId, Problem> {
    let text = path_value(parts, state, "id").await?;
    // One name for each job: an id in other letters is none.
    let id = text.parse().map_err(|_| no_such_job())?;
    if JobId::to_string(&id) == text {
        Ok(id)
    } else {
        Err(no_such_job())
    }
}

impl<S: Sync + Send> FromRequestParts<S> for JobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        job(parts, state).await.map(Self)
    }
}

impl<S: Sync + Send> FromRequestParts<S> for NamedPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = job(parts, state).await?;
        Ok(Self(id, path_value(parts, state, "name").await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        let uri: Uri = format!("/x?{text}").parse().unwrap();
        Query::parse(&uri, &["limit", "follow", "label"])
    }

    #[test]
    fn parameters_are_read() {
        let mut query = query("limit=7&follow=true&label=a%3Db+c");
        assert_eq!(query.number("limit", 1, 100), Some(7));
        assert!(query.flag("follow"));
        assert_eq!(query.text("label"), Some("a=b c"));
        assert!(query.finish().is_ok());
    }

    #[test]
    fn everything_that_is_wrong_is_said() {
        let mut query = query("limit=0&follow=1&labl=x&label=a&label=b");
        query.number("limit", 1, 100);
        query.flag("follow");
        let document = query.finish().unwrap_err().document("c", "/x");
        let names: Vec<_> = document
            .errors
            .iter()
            .filter_map(|error| error.parameter.as_deref())
            .collect();
        assert_eq!(names, ["labl", "label", "limit", "follow"]);
        assert_eq!((document.status, document.code.as_str()), (400, "bad_parameter"));
    }

    #[test]
    fn numbers_are_plain_digits() {
        for odd in ["%2B5", "-1", "5.0", "1e2", "", "99999999999999999999999"] {
            let mut query = query(&format!("limit={odd}"));
            assert_eq!(query.number("limit", 0u64, u64::MAX), None, "{odd}");
            assert!(query.finish().is_err());
        }
    }
}
