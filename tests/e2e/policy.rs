//! No grant, no row: generated grants and filters, and every way to a row, against a model that knows nothing of the gateway.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use cairn_tests::{Client, Gateway, copy, unique};
use reqwest::Method;
use serde_json::{Value, json};

/// What the model knows of a row.
struct Row {
    id: String,
    class: &'static str,
    tier: u64,
    contributor: &'static str,
}

fn rows() -> Vec<Row> {
    let (classes, contributors) = (["open", "closed", "odd \"name\""], ["Ada", "Bob", "the O'Brien society"]);
    let row = |n: usize| Row {
        id: format!("row-{n:02}"),
        class: classes[n % 3],
        tier: (n * 7 % 6) as u64,
        contributor: contributors[n / 3 % 3],
    };
    (0..16).map(row).collect()
}

/// A filter as the model understands it.
#[derive(Debug, Clone)]
enum Filter {
    Class(&'static str),
    Tier(&'static str, u64),
    Contributor(&'static str),
    Missing,
    Not(Box<Filter>),
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
}

impl Filter {
    fn random(dice: &mut Dice, depth: usize) -> Self {
        let inner = |dice: &mut Dice| Box::new(Self::random(dice, depth - 1));
        match dice.roll(if depth == 0 { 4 } else { 7 }) {
            0 => Self::Class(["open", "closed", "odd \"name\"", "none of them"][dice.roll(4)]),
            1 => Self::Tier(["<", ">=", "="][dice.roll(3)], dice.roll(7) as u64),
            2 => Self::Contributor(["Ada", "Bob", "the O'Brien society", "Ad"][dice.roll(4)]),
            3 => Self::Missing,
            4 => Self::Not(inner(dice)),
            5 => Self::And(inner(dice), inner(dice)),
            _ => Self::Or(inner(dice), inner(dice)),
        }
    }

    fn matches(&self, row: &Row) -> bool {
        match self {
            Self::Class(class) => row.class == *class,
            Self::Tier("<", tier) => row.tier < *tier,
            Self::Tier("=", tier) => row.tier == *tier,
            Self::Tier(_, tier) => row.tier >= *tier,
            Self::Contributor(contributor) => row.contributor == *contributor,
            Self::Missing => false,
            Self::Not(one) => !one.matches(row),
            Self::And(one, other) => one.matches(row) && other.matches(row),
            Self::Or(one, other) => one.matches(row) || other.matches(row),
        }
    }

    fn text(&self) -> String {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        match self {
            Self::Class(class) => format!("metadata.class = {}", quoted(class)),
            Self::Tier(how, tier) => format!("metadata.tier {how} {tier}"),
            Self::Contributor(contributor) => format!("contributor = {}", quoted(contributor)),
            Self::Missing => "metadata.nothing = 1".to_owned(),
            Self::Not(one) => format!("not ({})", one.text()),
            Self::And(one, other) => format!("({}) and ({})", one.text(), other.text()),
            Self::Or(one, other) => format!("({}) or ({})", one.text(), other.text()),
        }
    }
}

/// A grant as the model understands it.
#[derive(Debug, Clone)]
struct Grant {
    id: String,
    by_owner: bool,
    training: bool,
    retrieval: bool,
    /// All of them hold for its rows.
    filters: Vec<Filter>,
}

/// xorshift: the same cases in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn maybe_filter(&mut self) -> Option<Filter> {
        (self.roll(3) > 0).then(|| Filter::random(self, 2))
    }
}

/// One requester, and what the model says they hold.
struct Case<'a> {
    gateway: &'a Gateway,
    admin: &'a Client,
    app: Client,
    subject: String,
    datanet: &'a str,
    /// Of the datanet's terms.
    terms: &'a Filter,
    held: Vec<Grant>,
}

impl Case<'_> {
    /// Something happens to the grants.
    async fn step(&mut self, dice: &mut Dice) {
        match dice.roll(6) {
            0 | 1 => self.grant(dice).await,
            2 | 3 => self.request(dice).await,
            4 => self.expire(dice),
            _ => {
                let path = format!("/v1/datanets/{}/grants/{}", self.datanet, self.subject);
                assert_eq!(self.admin.delete(&path).await.status == 204, !self.held.is_empty());
                self.held.clear();
            }
        }
    }

    /// The owner grants, in the place of what they granted before.
    async fn grant(&mut self, dice: &mut Dice) {
        let (rows, training) = (dice.maybe_filter(), dice.roll(2) == 0);
        let mut query = vec![("training", training.to_string())];
        query.extend(rows.iter().map(|rows| ("rows", rows.text())));
        let path = format!("/v1/datanets/{}/grants/{}", self.datanet, self.subject);
        let made = self.admin.send(self.admin.request(Method::PUT, &path).query(&query)).await.ok();
        let id = made["id"].as_str().unwrap().to_owned();
        self.held.retain(|grant| !grant.by_owner);
        self.held.push(Grant { id, by_owner: true, training, retrieval: true, filters: rows.into_iter().collect() });
    }

    /// The terms grant, in the place of what they granted for the same purposes.
    async fn request(&mut self, dice: &mut Dice) {
        let rows = dice.maybe_filter();
        let (purposes, retrieval, training) = [
            (vec!["retrieval"], true, false),
            (vec!["training"], false, true),
            (vec!["retrieval", "training"], true, true),
        ][dice.roll(3)]
        .clone();
        let mut application = json!({"purposes": purposes, "actor": "academic"});
        if let Some(rows) = &rows {
            application["rows"] = json!(rows.text());
        }
        let made = self.app.post(&format!("/v1/datanets/{}/requests", self.datanet), application).await.ok();
        assert_eq!(made["status"], "granted", "{made}");
        let id = made["grant"].as_str().unwrap().to_owned();
        let same = |grant: &Grant| !grant.by_owner && (grant.retrieval, grant.training) == (retrieval, training);
        self.held.retain(|grant| !same(grant));
        let filters = rows.into_iter().chain([self.terms.clone()]).collect();
        self.held.push(Grant { id, by_owner: false, training, retrieval, filters });
    }

    /// The end of a grant comes.
    fn expire(&mut self, dice: &mut Dice) {
        if self.held.is_empty() {
            return;
        }
        let grant = self.held.remove(dice.roll(self.held.len()));
        self.gateway
            .sql(&format!("UPDATE grants SET expires_at = '2026-01-01T00:00:00.000Z' WHERE id = '{}'", grant.id));
    }

    /// The sets of rows that the grants in force for a purpose stand for: an access may use any one of them.
    fn allowed(&self, rows: &[Row], purpose: impl Fn(&Grant) -> bool, also: Option<&Filter>) -> Vec<BTreeSet<String>> {
        let of = |grant: &Grant| {
            let covered = rows.iter().filter(|row| grant.filters.iter().chain(also).all(|filter| filter.matches(row)));
            covered.map(|row| row.id.clone()).collect()
        };
        self.held.iter().filter(|grant| purpose(grant)).map(of).collect()
    }

    /// Every way to a row shows the rows of one grant in force, and where there is none, none.
    async fn check(&self, rows: &[Row], dice: &mut Dice) {
        let also = dice.maybe_filter();
        let narrowed = self.allowed(rows, |grant| grant.retrieval, also.as_ref());
        let whole = self.allowed(rows, |grant| grant.retrieval, None);
        let name = self.datanet;
        let why = format!("{:?} filtered by {also:?}", self.held);
        // Twice: the second answer comes from the cache.
        for mode in ["hybrid", "vector", "full_text", "hybrid"] {
            let mut request = json!({"query": "heron lake", "datanets": [name], "mode": mode, "top_k": 50});
            if let Some(also) = &also {
                request["filter"] = json!(also.text());
            }
            let found = self.app.post("/v1/search", request).await;
            self.expect(found, &narrowed, &format!("search, {mode}: {why}"));
        }
        let mut everywhere = json!({"query": "heron lake", "top_k": 50});
        if let Some(also) = &also {
            everywhere["filter"] = json!(also.text());
        }
        let found = self.app.post("/v1/search", everywhere).await.ok();
        let ours = found["data"].as_array().unwrap().iter().filter(|it| it["datanet"] == name).cloned().collect();
        let ours = ids(&Value::Array(ours));
        let none = BTreeSet::new();
        assert!(narrowed.contains(&ours) || narrowed.is_empty() && ours == none, "search of all: {ours:?}: {why}");

        let listed = self.app.get(&format!("/v1/datanets/{name}/datapoints?limit=200")).await;
        self.expect(listed, &whole, &format!("browsing: {why}"));
        let row = &rows[dice.roll(rows.len())];
        let one = self.app.get(&format!("/v1/datanets/{name}/datapoints/{}", row.id)).await;
        match whole.is_empty() {
            true => assert_eq!(one.status, 403, "one row: {why}"),
            // Which grant was used is not said: then either is right.
            false if whole.iter().all(|rows| rows.contains(&row.id)) => assert_eq!(one.status, 200, "one row: {why}"),
            false if whole.iter().all(|rows| !rows.contains(&row.id)) => assert_eq!(one.status, 404, "one row: {why}"),
            false => assert!([200, 404].contains(&one.status), "one row: {why}"),
        }
        let export = self.app.get(&format!("/v1/datanets/{name}/snapshots/1/export")).await;
        match whole.is_empty() {
            true => assert_eq!(export.status, 403, "export: {why}"),
            false => {
                let text = export.text();
                let shown: BTreeSet<String> =
                    rows.iter().filter(|row| text.contains(&row.id)).map(|row| row.id.clone()).collect();
                assert!(whole.contains(&shown), "export: {shown:?}: {why}");
            }
        }
        self.check_training(rows, &why).await;
    }

    /// An answer is given no other passages either, and its proof names the grant.
    async fn check_answer(&self, rows: &[Row]) {
        let allowed = self.allowed(rows, |grant| grant.retrieval, None);
        let (name, why) = (self.datanet, format!("{:?}", self.held));
        let request = json!({"model": cairn_tests::MODEL, "messages": [{"role": "user", "content": "Where is the heron?"}],
            "datanets": [name], "max_tokens": 2, "retrieval": {"top_k": 20}});
        let reply = self.app.post("/v1/chat/completions", request).await;
        if allowed.is_empty() {
            assert_eq!(reply.status, 403, "an answer: {why}: {reply}");
            return;
        }
        let answer = reply.ok();
        let considered = ids(&answer["attribution"]["candidates"]);
        assert!(allowed.iter().any(|allowed| considered.is_subset(allowed)), "an answer: {considered:?}: {why}");
        let bundle = self.app.proof(answer["attribution"]["id"].as_str().unwrap()).await;
        let bundle = String::from_utf8_lossy(&bundle);
        assert!(self.held.iter().any(|grant| bundle.contains(&grant.id)), "the proof names a grant in force: {why}");
    }

    async fn check_training(&self, rows: &[Row], why: &str) {
        let allowed = self.allowed(rows, |grant| grant.training, None);
        let job = json!({"model": cairn_tests::MODEL, "training_file": format!("datanet:{}", self.datanet),
            "template": {"user": "{id}", "assistant": "{text}"}});
        let previewed = self.app.post("/v1/fine_tuning/preview", job).await;
        if allowed.is_empty() {
            assert_eq!(previewed.status, 403, "training: {why}: {previewed}");
        } else if previewed.status == 200 {
            let rows = previewed.ok()["validation"]["rows"].as_u64().unwrap();
            assert!(allowed.iter().any(|allowed| allowed.len() as u64 == rows), "training on {rows} rows: {why}");
        } else {
            let few = allowed.iter().map(BTreeSet::len).min().unwrap();
            assert!(previewed.status == 400 && few < 2, "training: {why}: {previewed}");
        }
    }

    fn expect(&self, reply: cairn_tests::Reply, allowed: &[BTreeSet<String>], what: &str) {
        if allowed.is_empty() {
            assert_eq!(reply.status, 403, "{what}: {reply}");
        } else {
            let found = ids(&reply.ok()["data"]);
            assert!(allowed.contains(&found), "{what}: {found:?} is none of {allowed:?}");
        }
    }
}

fn ids(data: &Value) -> BTreeSet<String> {
    data.as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn no_grant_no_row_over_generated_grants_and_filters() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let (rows, mut dice) = (rows(), Dice(0x5eed_c417));
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let text = format!("A heron stands in the shallow water of the lake, near {}.", row.id);
            json!({"id": row.id, "text": text, "contributor": row.contributor,
                "metadata": {"class": row.class, "tier": row.tier}})
            .to_string()
        })
        .collect();
    for _ in 0..DATANETS {
        let (name, terms) = (unique("policy"), Filter::random(&mut dice, 1));
        admin.post("/v1/datanets", json!({"name": name})).await.ok();
        let job = admin.ingest_text(&name, &[("format", "jsonl")], "rows.jsonl", &lines.join("\n")).await;
        admin.succeeded(&job).await;
        let published = json!({"rows": terms.text(), "purposes": {"retrieval": "allow", "training": "allow"}});
        let path = format!("/v1/datanets/{name}/terms");
        admin.send(admin.request(Method::PUT, &path).json(&published)).await.ok();
        for _ in 0..REQUESTERS {
            let (app, subject) = gateway.caller(&["app", "trainer"]).await;
            let mut case = Case {
                gateway: &gateway,
                admin: &admin,
                app,
                subject,
                datanet: &name,
                terms: &terms,
                held: Vec::new(),
            };
            case.check(&rows, &mut dice).await;
            for _ in 0..STEPS {
                case.step(&mut dice).await;
                case.check(&rows, &mut dice).await;
            }
            case.check_answer(&rows).await;
        }
    }
}

/// Datanets, each with terms of its own; requesters of each; and what happens to each requester's grants.
const DATANETS: usize = 3;
const REQUESTERS: usize = 4;
const STEPS: usize = 6;
