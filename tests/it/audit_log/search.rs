//! Finding entries: by every field, in both orders, page by page, filed or not.

mod made;

use std::collections::{BTreeMap, BTreeSet};

use aegis_control_plane::audit::facets::Field;
use aegis_tests::callers::Caller;
use aegis_tests::database::execute;
use aegis_tests::eventually::eventually;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row, raw_sql};

use self::made::{BEGIN, Made, mixed, record};
use super::WITHIN;
use super::auditor::Auditor;
use crate::actions::scene::{Scene, answered, expect, id_of};

async fn until_filed(stack: &Stack) -> Result<()> {
    let mut conn = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
    eventually("two blocks being filed", WITHIN, async || {
        let row = raw_sql("select count(*) from audit.blocks").fetch_one(&mut conn).await?;
        Ok((row.try_get::<i64, _>(0)? >= 2).then_some(()))
    })
    .await
}

/// The ids that all pages of a search name; insists that none comes twice.
async fn found(auditor: &Caller, query: &str, limit: usize) -> Result<Vec<String>> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/audit/entries?limit={limit}&{query}{cursor}");
        let page = answered(|| auditor.get(&path)).await?.expect(200)?.body;
        let items = page["items"].as_array().context("items")?;
        ensure!(items.len() <= limit, "{query}: a page of {}", items.len());
        found.extend(items.iter().filter_map(|entry| entry["id"].as_str()).map(str::to_owned));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let once: BTreeSet<&String> = found.iter().collect();
    ensure!(once.len() == found.len(), "{query}: an entry comes twice");
    Ok(found)
}

/// One search, and what it must find.
struct Question {
    values: Vec<(&'static str, String)>,
    times: Option<(i64, i64)>,
    has_text: bool,
}

impl Question {
    fn of(values: Vec<(&'static str, String)>) -> Self {
        Self { values, times: None, has_text: false }
    }

    fn query(&self) -> Result<String> {
        let mut query: Vec<String> =
            self.values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if let Some((from, to)) = self.times {
            let time = jiff::Timestamp::from_second;
            query.push(format!("from={}&to={}", time(from)?, time(to)?));
        }
        if self.has_text {
            query.push("text=Z%C3%BCRICH+%22%5C+7".to_owned());
        }
        Ok(query.join("&"))
    }

    fn fits(&self, made: &Made) -> bool {
        let text = "Zürich \\\"\\\\ 7".as_bytes();
        self.values.iter().all(|value| made.says.contains(value))
            && self.times.is_none_or(|(from, to)| made.at >= from && made.at < to)
            && (!self.has_text || made.body.windows(text.len()).any(|window| window == text))
    }

    /// Asks in both orders, in long and in short pages.
    async fn ask(&self, auditor: &Caller, made: &BTreeMap<String, Made>) -> Result<usize> {
        let query = self.query()?;
        // They were recorded in the order of their ids.
        let mut expected: Vec<String> =
            made.iter().filter(|(_, made)| self.fits(made)).map(|(id, _)| id.clone()).collect();
        let limit = if expected.len() < 30 { 7 } else { 200 };
        let among_made = async |query: &str| {
            let found = found(auditor, query, limit).await?;
            anyhow::Ok(found.into_iter().filter(|id| made.contains_key(id)).collect::<Vec<_>>())
        };
        let oldest = among_made(&format!("{query}&order=oldest")).await?;
        ensure!(oldest == expected, "{query}: {} instead of {}", oldest.len(), expected.len());
        expected.reverse();
        let newest = among_made(&query).await?;
        ensure!(newest == expected, "{query}, newest first: {} instead of {}", newest.len(), expected.len());
        Ok(expected.len())
    }
}

/// One value of each field, and pairs and more of them, alone and within times.
fn questions(made: &BTreeMap<String, Made>) -> Vec<Question> {
    let mut questions = Vec::new();
    let all: Vec<&Made> = made.values().collect();
    let count = all.len() as u64;
    let any = |number: u64| all[usize::try_from(mixed(number) % count).unwrap_or(0)];
    for field in Field::ALL {
        let holder =
            (0..count).map(any).find(|made| made.says.iter().any(|(name, _)| *name == field.as_str()));
        let value = holder.and_then(|made| made.says.iter().find(|(name, _)| *name == field.as_str()));
        questions.extend(value.map(|value| Question::of(vec![value.clone()])));
    }
    for number in 0..24 {
        let says = &any(number).says;
        let mut values = says.clone();
        values.sort_by_key(|(name, value)| mixed(number ^ (name.len() * 64 + value.len()) as u64));
        let mut names = BTreeSet::new();
        values.retain(|(name, _)| names.insert(*name));
        values.truncate(2 + usize::try_from(number % 2).unwrap_or(0));
        questions.push(Question::of(values));
    }
    // Each occurs often, and no entry says both.
    questions.push(Question::of(vec![
        ("kind", "action.ended".to_owned()),
        ("principal", "client:bot".to_owned()),
    ]));
    let end = BEGIN + i64::try_from(count).unwrap_or(0);
    for (from, to) in
        [(BEGIN + 100, BEGIN + 130), (BEGIN + 4_000, BEGIN + 4_200), (end - 50, end + 9), (0, BEGIN)]
    {
        questions.push(Question { times: Some((from, to)), ..Question::of(Vec::new()) });
        let kind = vec![("kind", "decision.made".to_owned())];
        questions.push(Question { times: Some((from, to)), ..Question::of(kind) });
    }
    let whole = Some((BEGIN, end + 9));
    questions.push(Question { times: whole, has_text: true, values: Vec::new() });
    questions.push(Question { times: whole, has_text: true, values: vec![("cluster", "prod".to_owned())] });
    questions
}

#[tokio::test]
async fn every_search_finds_what_the_entries_say_in_both_orders_whether_they_are_filed_or_not() -> Result<()>
{
    let stack = Stack::start(StackOptions::default()).await?;
    let auditor = stack.new_person("otto", &["auditor"]).await?;
    let made = record(&stack).await?;
    let questions = questions(&made);
    until_filed(&stack).await?;
    let mut without = 0;
    for question in &questions {
        without += usize::from(question.ask(&auditor, &made).await? == 0);
    }
    assert!(questions.len() >= 48 && without <= 4, "{without} of {} find nothing", questions.len());

    // What follows from the entries can be thrown away.
    execute(&stack.control_plane_database().owner_url, "truncate audit.blocks, audit.postings".to_owned())
        .await?;
    for question in questions.iter().step_by(4) {
        question.ask(&auditor, &made).await?;
    }
    until_filed(&stack).await?;
    for question in questions.iter().step_by(4) {
        question.ask(&auditor, &made).await?;
    }
    Ok(())
}

#[tokio::test]
async fn values_are_counted_a_text_needs_a_time_and_is_not_repeated_and_nothing_unknown_is_looked_for()
-> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let auditor = stack.new_person("otto", &["auditor"]).await?;
    let made = record(&stack).await?;
    let counted = async |query: &str| {
        let path = format!("/api/v1/audit/entries?limit=1&facets=true&{query}");
        anyhow::Ok(answered(|| auditor.get(&path)).await?.expect(200)?.body)
    };
    // A search that takes too long counts less.
    let page = eventually("all that fit being counted", WITHIN, async || {
        let page = counted("outcome=rollout-timeout&cluster=prod").await?;
        Ok((page["facets"]["complete"] == true).then_some(page))
    })
    .await?;
    let fits = |made: &&Made| {
        let says = |name, value: &str| made.says.contains(&(name, value.to_owned()));
        says("outcome", "rollout-timeout") && says("cluster", "prod")
    };
    let expected: Vec<&Made> = made.values().filter(fits).collect();
    let facets = &page["facets"];
    assert_eq!((&facets["entries"], &facets["complete"]), (&json!(expected.len()), &json!(true)));
    for field in ["namespace", "onBehalfOf", "targetKind"] {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for (_, value) in expected.iter().flat_map(|made| &made.says).filter(|(name, _)| *name == field) {
            *counts.entry(value).or_default() += 1;
        }
        let told = facets["fields"][field].as_array().context("a list")?;
        let told: BTreeMap<&str, u64> =
            told.iter().filter_map(|told| Some((told["value"].as_str()?, told["count"].as_u64()?))).collect();
        assert_eq!(told, counts, "{field}");
    }
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1));
    eventually("as many as are counted at most", WITHIN, async || {
        let facets = counted("principalKind=client").await?["facets"].take();
        ensure!(facets["complete"] == false, "there are more: {facets}");
        Ok(facets["entries"].as_u64().is_some_and(|count| count >= 2_000).then_some(()))
    })
    .await?;

    for query in [
        "text=x",
        "text=x&to=2026-11-20T00:00:00Z",
        "text=&from=2026-11-20T00:00:00Z",
        "kind=no",
        "targetKind=deployment",
        "actionType=no",
        "decision=allow",
        "decisionId=7",
        "order=random",
        "colour=red",
        "cursor=AAAA",
        "namespace=",
    ] {
        let path = format!("/api/v1/audit/entries?{query}");
        let refused = answered(|| auditor.get(&path)).await?;
        assert_eq!(refused.status, 400, "{query}: {}", refused.text);
    }
    found(&auditor, "text=zebra&from=2026-11-20T00:00:00Z", 50).await?;
    let read = "/api/v1/audit/entries?kind=audit.read&limit=200";
    let told = eventually("the search being recorded", WITHIN, async || {
        let told = answered(|| auditor.get(read)).await?.expect(200)?.text;
        Ok(told.contains("hmac-sha256:").then_some(told))
    })
    .await?;
    assert!(!told.contains("zebra"), "{told}");
    Ok(())
}

#[tokio::test]
async fn what_is_filed_otherwise_than_entries_say_is_told_by_every_export_of_them() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    record(&stack).await?;
    until_filed(&stack).await?;
    let auditor = Auditor::of(&stack).await?;
    let verified = async |first: u64| {
        let (first, end) = (first.to_string(), (first + 300).to_string());
        auditor.export("part", &["--first", &first, "--end", &end]).await?;
        let (code, said) = auditor.verify(&["part"]).await?;
        anyhow::Ok((code, said["code"].as_str().unwrap_or_default().to_owned(), said["entry"].as_u64()))
    };
    assert_eq!(verified(4_000).await?.0, 0);
    let kind = Field::Kind.term("decision.made");
    let owner = &stack.control_plane_database().owner_url;
    let superuser = &stack.control_plane_database().superuser_url;
    for (sql, is_told_of_first) in [
        ("delete from audit.blocks where block = 0".to_owned(), true),
        ("update audit.blocks set newest = oldest where block = 0".to_owned(), false),
        ("update audit.blocks set oldest = newest where block = 0".to_owned(), true),
        (format!("delete from audit.postings where block = 0 and term = {kind}"), false),
        (format!("update audit.postings set places = '\\x' where block = 0 and term = {kind}"), false),
        (
            format!(
                "update audit.postings p set places = o.places from audit.postings o \
                 where p.block = 0 and o.block = 0 and p.term = {kind} and o.term = {}",
                Field::Kind.term("action.ended")
            ),
            false,
        ),
    ] {
        assert!(execute(owner, sql.clone()).await.is_err(), "even the owner is refused: {sql}");
        execute(superuser, format!("set session_replication_role = replica; {sql}")).await?;
        let (code, said, entry) = verified(3_700).await?;
        assert_eq!((code, said.as_str()), (2, "entry-misfiled"), "{sql}");
        assert!(entry.is_some_and(|entry| (3_700..4_000).contains(&entry)), "{sql}: {entry:?}");
        assert!(!is_told_of_first || entry == Some(3_700), "{sql}: {entry:?}");
        assert_eq!(verified(4_100).await?.0, 0, "{sql} touches nothing else");
        execute(owner, "truncate audit.blocks, audit.postings".to_owned()).await?;
        until_filed(&stack).await?;
        assert_eq!(verified(3_700).await?.0, 0, "what is filed anew is as it should be");
    }
    Ok(())
}

#[tokio::test]
async fn all_entries_of_an_action_are_found_by_what_it_did_and_to_what() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["web"]).await?;
    let done = scene.carry_out(&scene.scale("web", 2)).await?;
    expect(&done, "succeeded", "rollout-complete");
    let id = id_of(&done)?;
    let ids = async |query: &str| found(&scene.admin, query, 200).await;
    let all = ids(&format!("actionId={id}")).await?;
    assert!(all.len() >= 6, "{all:?}");
    let target = &done["target"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_target = format!(
        "cluster={}&namespace={}&targetKind=Deployment&targetName=web&actionType=scale",
        text(&target["cluster"]),
        text(&target["namespace"])
    );
    assert_eq!(ids(&of_target).await?, all, "{of_target}");
    let requester = text(&done["requestedBy"]);
    for (query, count) in [
        (format!("{of_target}&kind=action.ended&outcome=succeeded&onBehalfOf={requester}"), 1),
        ("outcome=rollout-complete&principalKind=engine".to_owned(), 1),
        (format!("decisionId={}&kind=decision.made&decision=ALLOW", text(&done["decisionId"])), 1),
        ("kind=decision.made&policy=allow-everything".to_owned(), 1),
        ("policy=allow-everything&kind=policy.activated".to_owned(), 1),
        ("outcome=failed".to_owned(), 0),
    ] {
        let found = ids(&query).await?.len();
        // What waits for long is decided again.
        assert!(if count == 0 { found == 0 } else { found >= count }, "{query}: {found}");
    }
    Ok(())
}
