//! Whether enough people have approved.

use serde::{Deserialize, Serialize};

use crate::obligation::Approval;

/// How many people a group still lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Vacancy {
    /// The role they hold.
    pub role: String,
    /// How many more must agree.
    pub missing: u32,
}

/// P44: the groups that lack people, if those agreed who hold these roles, each person once. A person
/// stands for one group only, and people are told off so that as few as possible are missing.
pub fn vacancies<'a>(groups: impl IntoIterator<Item = &'a Approval>, people: &[Vec<String>]) -> Vec<Vacancy> {
    let groups: Vec<&Approval> = groups.into_iter().collect();
    let mut members = vec![Vec::new(); groups.len()];
    for person in 0..people.len() {
        let mut tried = vec![false; groups.len()];
        tell_off(person, &groups, people, &mut members, &mut tried);
    }
    let lacks = |members: &Vec<usize>, group: &Approval| {
        group.min.saturating_sub(u32::try_from(members.len()).unwrap_or(u32::MAX))
    };
    let missing = members.iter().zip(&groups).map(|(members, group)| (lacks(members, group), group));
    missing
        .filter(|(missing, _)| *missing > 0)
        .map(|(missing, group)| Vacancy { role: group.role.clone(), missing })
        .collect()
}

/// Finds a person a place, moving others to another group of theirs where that makes room.
fn tell_off(
    person: usize,
    groups: &[&Approval],
    people: &[Vec<String>],
    members: &mut [Vec<usize>],
    tried: &mut [bool],
) -> bool {
    for (index, group) in groups.iter().enumerate() {
        if tried[index] || !people[person].contains(&group.role) {
            continue;
        }
        tried[index] = true;
        if u32::try_from(members[index].len()).is_ok_and(|present| present < group.min) {
            members[index].push(person);
            return true;
        }
        for place in 0..members[index].len() {
            if tell_off(members[index][place], groups, people, members, tried) {
                members[index][place] = person;
                return true;
            }
        }
    }
    false
}
