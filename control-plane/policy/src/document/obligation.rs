//! Reads limits, approvals and reviews.

use serde_json::{Map, Value};

use super::place::Place;
use super::reader::{Reader, each};
use super::{Problem, code};
use crate::obligation::{APPROVAL_SECONDS_DEFAULT, Approval, Limit, Per, Review, Whole};
use crate::question::is_role;
use crate::shape::{
    APPROVAL, BREAKER, CONCURRENCY, COOLDOWN, LIMITS, Object, RATE, REPLICAS, REVIEW, UNAVAILABLE,
};
use crate::suggest::nearest;

/// P34: reads limits, each as one or, with several bounds, as several.
pub(super) fn read_limits(reader: &mut Reader<'_>, place: &Place<'_>, list: &[Value]) -> Option<Vec<Limit>> {
    let mut limits = each(place, list, |place, limit| read_limit(reader, place, limit))?.concat();
    limits.sort();
    limits.dedup();
    Some(limits)
}

fn read_limit(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value) -> Option<Vec<Limit>> {
    let fields = reader.object(place, value)?;
    let kind = read_kind(reader, place, fields)?;
    reader.known_fields(place, fields, kind);
    let whole = |reader: &mut Reader<'_>, name: &str| reader.whole(place, fields, kind, name);
    // Every field is read before any is given up, so that all problems are found.
    if std::ptr::eq(kind, &UNAVAILABLE) {
        return read_unavailable(reader, place, fields);
    }
    if std::ptr::eq(kind, &REPLICAS) {
        return read_replicas(reader, place, fields);
    }
    let per = read_per(reader, place, fields);
    let limit = if std::ptr::eq(kind, &COOLDOWN) {
        let seconds = whole(reader, "seconds");
        Limit::Cooldown { per: per?, seconds: seconds? }
    } else if std::ptr::eq(kind, &RATE) {
        let (seconds, max) = (whole(reader, "seconds"), whole(reader, "max"));
        Limit::Rate { per: per?, seconds: seconds?, max: max? }
    } else if std::ptr::eq(kind, &CONCURRENCY) {
        let max = whole(reader, "max");
        Limit::Concurrency { per: per?, max: max? }
    } else {
        debug_assert!(std::ptr::eq(kind, &BREAKER), "all kinds are read");
        let (seconds, failures) = (whole(reader, "seconds"), whole(reader, "failures"));
        let open_seconds = whole(reader, "openSeconds");
        Limit::Breaker { per: per?, seconds: seconds?, failures: failures?, open_seconds: open_seconds? }
    };
    Some(vec![limit])
}

fn read_kind(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    fields: &Map<String, Value>,
) -> Option<&'static Object> {
    let name = reader.required_text(place, fields, "type")?;
    let kind = LIMITS.iter().find(|kind| kind.name == name);
    if kind.is_none() {
        let names = LIMITS.iter().map(|kind| kind.name);
        let known: Vec<&str> = names.clone().collect();
        reader.report(
            Problem::new(place.field("type").pointer(), code::UNKNOWN_LIMIT, "there is no such limit")
                .expected(known.join(", "))
                .suggestion(nearest(name, names)),
        );
    }
    kind.copied()
}

fn read_unavailable(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    fields: &Map<String, Value>,
) -> Option<Vec<Limit>> {
    let of_place = place.field("of");
    let of = match fields.get("of") {
        Some(of) => reader.one_of(&of_place, of, &["target"]).map(|_| Whole::Target),
        None => {
            reader.missing(&of_place);
            None
        }
    };
    let percent = reader.optional_whole(place, fields, &UNAVAILABLE, "maxPercent");
    let pods = reader.optional_whole(place, fields, &UNAVAILABLE, "maxPods");
    let readable = percent.is_some() == fields.contains_key("maxPercent")
        && pods.is_some() == fields.contains_key("maxPods");
    let of = of.filter(|_| readable)?;
    let percent = percent.map(|percent| (Some(percent), None));
    let pods = pods.map(|pods| (None, Some(pods)));
    let bounds = percent.into_iter().chain(pods);
    Some(bounds.map(|(max_percent, max_pods)| Limit::Unavailable { of, max_percent, max_pods }).collect())
}

/// P46: a floor, a ceiling and a step.
fn read_replicas(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    fields: &Map<String, Value>,
) -> Option<Vec<Limit>> {
    let names = ["min", "max", "maxStep"];
    let [min, max, max_step] = names.map(|name| reader.optional_whole(place, fields, &REPLICAS, name));
    if let (Some(low), Some(high)) = (min, max)
        && low > high
    {
        let message = "no number of replicas is within these; `min` is the lower one";
        reader.report(Problem::new(place.field("min").pointer(), code::INVALID_RANGE, message));
    }
    let read = [min, max, max_step];
    let is_readable = names.iter().zip(read).all(|(name, read)| read.is_some() == fields.contains_key(*name));
    let bounds = [
        min.map(|min| Limit::Replicas { min: Some(min), max: None, max_step: None }),
        max.map(|max| Limit::Replicas { min: None, max: Some(max), max_step: None }),
        max_step.map(|step| Limit::Replicas { min: None, max: None, max_step: Some(step) }),
    ];
    is_readable.then(|| bounds.into_iter().flatten().collect())
}

/// P35: one thing to share, or several.
fn read_per(reader: &mut Reader<'_>, place: &Place<'_>, fields: &Map<String, Value>) -> Option<Vec<Per>> {
    let place = place.field("per");
    let Some(value) = fields.get("per") else {
        reader.missing(&place);
        return None;
    };
    let mut per = match value {
        Value::Array(_) => {
            let list = reader.filled_list(&place, value)?;
            each(&place, list, |place, entry| read_one_per(reader, place, entry))?
        }
        one => vec![read_one_per(reader, &place, one)?],
    };
    per.sort_unstable();
    per.dedup();
    Some(per)
}

fn read_one_per(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value) -> Option<Per> {
    const NAMES: &[&str] = &["action", "cluster", "namespace", "principal", "target"];
    const _: () = assert!(NAMES.len() == Per::ALL.len(), "every one has a name");
    reader.one_of(place, value, NAMES).map(|index| Per::ALL[index])
}

/// P36: reads groups of approvers; a role stands in one group.
pub(super) fn read_approvals(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    list: &[Value],
) -> Option<Vec<Approval>> {
    let mut groups = each(place, list, |place, group| read_approval(reader, place, group))?;
    for (index, group) in groups.iter().enumerate() {
        if groups[..index].iter().any(|other| other.role == group.role) {
            let message = format!("the role `{}` has a group already", group.role);
            let pointer = place.item(index).field("role").pointer();
            reader.report(Problem::new(pointer, code::DUPLICATE_ROLE, message));
        }
    }
    groups.sort();
    Some(groups)
}

fn read_approval(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value) -> Option<Approval> {
    let fields = reader.object(place, value)?;
    reader.known_fields(place, fields, &APPROVAL);
    let role = read_role(reader, place, fields, "role");
    let min = reader.whole(place, fields, &APPROVAL, "min");
    let expires = match fields.contains_key("expiresSeconds") {
        true => reader.whole(place, fields, &APPROVAL, "expiresSeconds"),
        false => Some(APPROVAL_SECONDS_DEFAULT),
    };
    Some(Approval { role: role?, min: min?, expires_seconds: expires? })
}

/// P38: reads who must look at it afterwards.
pub(super) fn read_review(reader: &mut Reader<'_>, place: &Place<'_>, value: &Value) -> Option<Review> {
    let fields = reader.object(place, value)?;
    reader.known_fields(place, fields, &REVIEW);
    let role = read_role(reader, place, fields, "reviewRole");
    let seconds = reader.whole(place, fields, &REVIEW, "reviewSeconds");
    Some(Review { review_role: role?, review_seconds: seconds? })
}

fn read_role(
    reader: &mut Reader<'_>,
    parent: &Place<'_>,
    fields: &Map<String, Value>,
    name: &str,
) -> Option<String> {
    let role = reader.required_text(parent, fields, name)?;
    if !is_role(role) {
        let message = "a role is 1 to 63 visible ASCII characters other than *";
        reader.report(Problem::new(parent.field(name).pointer(), code::INVALID_NAME, message));
        return None;
    }
    Some(role.to_owned())
}
