//! Patterns of `match`: `*` for any run of characters, and segments for resources.

use std::fmt;

use aegis_contract::target::Kind;

use crate::principal::PRINCIPAL_KINDS;
use crate::suggest::nearest;

/// Longest pattern; the longest resource has under 450 characters.
const PATTERN_LENGTH_MAX: usize = 512;

/// P21: a text in which `*` stands for any run of characters, also for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

/// Why a pattern is refused, and what may have been meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PatternError {
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
}

impl PatternError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), suggestion: None }
    }
}

impl Glob {
    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Refuses what no name contains; `*` is the only special character.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(PatternError::new("a pattern is visible ASCII without spaces"));
        }
        Self::parse_text(text)
    }

    /// P25: the same for texts of any characters.
    pub(crate) fn parse_text(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() || text.len() > PATTERN_LENGTH_MAX {
            return Err(PatternError::new(format!("a pattern has 1 to {PATTERN_LENGTH_MAX} characters")));
        }
        if text.contains("**") {
            return Err(PatternError::new("`**` is only known as the last segment of a resource; write `*`"));
        }
        Ok(Self(text.to_owned()))
    }

    /// P23: a pattern for principals; refused when no kind of principal can match it.
    pub(crate) fn parse_principal(text: &str) -> Result<Self, PatternError> {
        let glob = Self::parse(text)?;
        let before_star = text.split('*').next().unwrap_or_default();
        let possible = match before_star.split_once(':') {
            Some((kind, name)) => PRINCIPAL_KINDS.contains(&kind) && (text.contains('*') || !name.is_empty()),
            None => text.contains('*') && PRINCIPAL_KINDS.iter().any(|kind| kind.starts_with(before_star)),
        };
        if possible {
            return Ok(glob);
        }
        let kind = text.split(':').next().unwrap_or_default();
        let suggestion = nearest(kind, PRINCIPAL_KINDS).map(|kind| match text.split_once(':') {
            Some((_, name)) => format!("{kind}:{name}"),
            None => format!("{kind}:*"),
        });
        let message = "no principal can match; principals are user:…, client:…, alert-source:… and engine:…";
        Err(PatternError { message: message.to_owned(), suggestion })
    }

    /// P21, for patterns that stand elsewhere than in a policy; `None` where none can be read.
    pub fn read(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        // Taking the earliest place for each part in between leaves the most for those after it.
        let mut rest = rest;
        for part in parts {
            match rest.find(part) {
                Some(start) => rest = &rest[start + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ResourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut segments: Vec<&str> = self.segments.iter().map(Glob::as_str).collect();
        segments.extend(self.rest.then_some("**"));
        f.write_str(&segments.join("/"))
    }
}

/// P22: a resource in which each segment is a [`Glob`], and a last `**` stands for one or more segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResourcePattern {
    segments: Vec<Glob>,
    rest: bool,
}

impl ResourcePattern {
    /// All that is written before a last `**`.
    pub(crate) fn segments(&self) -> &[Glob] {
        &self.segments
    }

    /// P23: refuses every pattern that no resource can match.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        if text == "**" {
            return Ok(Self { segments: Vec::new(), rest: true });
        }
        let (fixed, rest) = match text.strip_suffix("/**") {
            Some(fixed) => (fixed, true),
            None => (text, false),
        };
        let names: Vec<&str> = fixed.split('/').collect();
        check_form(&names, rest)?;
        if names[0] == "k8s" {
            check_kubernetes(&names)?;
        }
        let segments = names.iter().map(|name| Glob::parse(name)).collect::<Result<_, _>>()?;
        Ok(Self { segments, rest })
    }

    /// Whether a resource, written out, matches segment by segment.
    pub(crate) fn matches(&self, resource: &str) -> bool {
        let names: Vec<&str> = resource.split('/').collect();
        let enough =
            if self.rest { names.len() > self.segments.len() } else { names.len() == self.segments.len() };
        enough && self.segments.iter().zip(names).all(|(segment, name)| segment.matches(name))
    }
}

fn check_form(names: &[&str], rest: bool) -> Result<(), PatternError> {
    let length = match names[0] {
        "k8s" => 5,
        "aegis" => 3,
        other => {
            return Err(PatternError {
                message: "a resource pattern begins with k8s/ or aegis/, or is `**` for everything"
                    .to_owned(),
                suggestion: nearest(other, ["k8s", "aegis"]).map(str::to_owned),
            });
        }
    };
    let fits = if rest { names.len() < length } else { names.len() == length };
    if fits {
        return Ok(());
    }
    let form = if length == 5 { "k8s/<cluster>/<namespace>/<Kind>/<name>" } else { "aegis/<noun>/<name>" };
    Err(PatternError::new(format!("no resource can match; the form is {form}, or its beginning and `/**`")))
}

fn check_kubernetes(names: &[&str]) -> Result<(), PatternError> {
    for (index, name) in names.iter().enumerate().skip(1) {
        if index == 3 {
            let kinds = Kind::ALL.map(Kind::as_str);
            let glob = Glob::parse(name)?;
            if !kinds.iter().any(|kind| glob.matches(kind)) {
                return Err(PatternError {
                    message: format!("`{name}` matches no kind; kinds are {}", kinds.join(", ")),
                    suggestion: nearest(name, kinds).map(str::to_owned),
                });
            }
        } else if name.bytes().any(|byte| !matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'*')) {
            let message =
                format!("`{name}` matches nothing: names in a cluster are of a-z, 0-9, '-' and '.'");
            return Err(PatternError::new(message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything:at/all", true),
            ("web", "web", true),
            ("web", "web-1", false),
            ("web-*", "web-", true),
            ("web-*", "web", false),
            ("*-web", "shop-web", true),
            ("*-web", "shop-web-1", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("a*a", "a", false),
            ("*a*", "bab", true),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().matches(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn resources_match_segment_by_segment() {
        for (pattern, resource, expected) in [
            ("k8s/prod-*/shop/Deployment/web-*", "k8s/prod-1/shop/Deployment/web-a", true),
            ("k8s/prod-*/shop/Deployment/web-*", "k8s/prod-1/shop/Deployment/api", false),
            ("k8s/*/kube-*/**", "k8s/prod/kube-system/Pod/dns", true),
            ("k8s/*/kube-*/**", "k8s/prod/shop/Pod/kube-x", false),
            ("k8s/*/*/*/*", "k8s/prod/shop/Pod/web", true),
            ("k8s/**", "k8s/prod/shop/Pod/web", true),
            ("k8s/**", "aegis/policy/k8s", false),
            ("k8s/prod/shop/Pod/**", "k8s/prod/shop/Pod/web", true),
            ("**", "aegis/policy/prod", true),
            ("aegis/policy/*", "aegis/policy/prod", true),
            ("aegis/policy/*", "aegis/user/prod", false),
        ] {
            assert_eq!(
                ResourcePattern::parse(pattern).unwrap().matches(resource),
                expected,
                "{pattern} on {resource}"
            );
        }
    }

    #[test]
    fn a_resource_pattern_that_can_match_nothing_is_refused() {
        for pattern in [
            "",
            "*",
            "k8s",
            "k8s/",
            "k8s/*",
            "k8s/prod/shop/Deployment",
            "k8s/prod/shop/Deployment/web/extra",
            "k8s/prod/shop/Deployment/web/**",
            "k8s/prod/shop/deployment/web",
            "k8s/prod/shop/Gateway/web",
            "k8s/prod/Shop/Deployment/web",
            "k8s/**/web",
            "k8s/prod/shop/Deployment/web-**",
            "k8s//shop/Deployment/web",
            "aegis/policy",
            "aegis/policy/a/**",
            "aws/**",
            "K8s/**",
            "k8s/prod/sh op/Deployment/web",
        ] {
            assert!(ResourcePattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_principal_pattern_that_can_match_nobody_is_refused() {
        for pattern in ["*", "client:*", "client:bot-*", "cl*", "*bot", "*:bot", "user:1", "alert-*:prod"] {
            assert!(Glob::parse_principal(pattern).is_ok(), "{pattern}");
        }
        for (pattern, suggestion) in [
            ("bot", None),
            ("client", Some("client:*")),
            ("clinet:bot", Some("client:bot")),
            ("client:", None),
            ("bot-*", None),
            ("group:*", None),
        ] {
            let error = Glob::parse_principal(pattern).unwrap_err();
            if suggestion.is_some() {
                assert_eq!(error.suggestion.as_deref(), suggestion, "{pattern}");
            }
        }
    }
}
