//! Entries as a busy fleet of five clusters leaves them, and what people ask of them.

/// Makes the entry of a number: three belong to one action, which is asked for, decided and ended; now and then one
/// changes a policy instead.
pub(super) const ENTRY: &str = r#"
    create function bench_id(n bigint, milliseconds bigint, sort int) returns uuid language sql immutable as $$
        select (lpad(to_hex(milliseconds), 12, '0') || '7' || lpad(to_hex(sort), 3, '0') || '8000' || lpad(to_hex(n), 12, '0'))::uuid
    $$;
    create function bench_entry(n bigint, milliseconds bigint,
        out id uuid, out kind text, out at timestamptz, out principal text, out action_id uuid, out request_id text, out body bytea)
    language plpgsql immutable as $$
    declare
        hash text := md5((n / 3)::text);
        h bigint := ('x' || substr(hash, 1, 7))::bit(28)::bigint;
        client text := 'client:bot-' || h % 50;
        decision uuid := bench_id(n / 3, milliseconds, 2);
        place text := format('{"cluster":"c%s","kind":"Deployment","name":"web-%s","namespace":"team-%s"}', (h / 64) % 5, (h / 4096) % 5000, (h / 512) % 100);
        type text := (array['restart', 'restart-pod', 'rollback', 'scale'])[1 + (h / 8) % 4];
        failed boolean := n % 7 = 0;
        data text;
    begin
        id := bench_id(n, milliseconds, 0);
        at := '2026-01-01 00:00:00Z'::timestamptz + n * interval '200 milliseconds';
        action_id := bench_id(n / 3, milliseconds, 1);
        request_id := bench_id(n / 2, milliseconds, 3);
        if h % 1000 = 0 then
            kind := 'policy.activated'; principal := 'user:' || bench_id(h % 7, 0, 4); action_id := null;
            data := format('{"name":"policy-%s","policySet":[],"version":%s}', h % 20, n);
        elsif n % 3 = 0 then
            kind := 'action.requested'; principal := client;
            data := format('{"deadlineSeconds":300,"dryRun":false,"idempotencyKey":"%s","keyId":"%s","metadata":{"severity":"high","runbook":"https://runbooks.example.com/%s"},"params":{},"reason":{"hmac":"hmac-sha256:%s%s","textId":"%s"},"roles":["automation"],"target":%s,"type":"%s"}',
                request_id, hash, h % 90, hash, hash, decision, place, type);
        elsif n % 3 = 1 then
            kind := 'decision.made'; principal := client;
            data := format('{"action":"%s","decision":"%s","decisionId":"%s","digest":"sha256:%s%s","divergences":[],"limitsWithoutRoom":[],"policySetDigest":"sha256:%s%s","resource":"k8s/c%s/team-%s/Deployment/web-%s","rules":[{"policy":"policy-%s","rule":"teams-heal-what-is-theirs","version":7},{"policy":"base","rule":"care","version":3}]}',
                type, case when failed then 'DENY' else 'ALLOW' end, decision, hash, hash, hash, hash, (h / 64) % 5, (h / 512) % 100, (h / 4096) % 5000, h % 20);
        else
            kind := 'action.ended'; principal := 'engine:dispatch'; request_id := null;
            data := format('{"code":"%s","message":"3 of 3 pods updated","onBehalfOf":"%s","state":"%s","target":%s,"type":"%s"}',
                case when failed then 'rollout-timeout' else 'rollout-complete' end, client,
                case when failed then 'failed' else 'succeeded' end, place, type);
        end if;
        body := convert_to(format('{%s"at":"%s","data":%s,"id":"%s","kind":"%s","principal":"%s",%s"schema":"aegis.entry/v1"}',
            '"actionId":"' || action_id || '",', to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), data, id,
            kind, principal, '"requestId":"' || request_id || '",'), 'UTF8');
    end $$;
"#;

/// One search; `{}` stands for another number each time, `{d}` for another day of the log, `{h}` for an hour of it.
pub(super) struct Question {
    pub(super) name: &'static str,
    query: &'static str,
}

const fn ask(name: &'static str, query: &'static str) -> Question {
    Question { name, query }
}

/// Seconds between two entries, times five.
const PER_SECOND: u64 = 5;
/// When the first entry was recorded.
const BEGIN: i64 = 1_767_225_600;

impl Question {
    /// The query of a round, in a log of so many entries.
    pub(super) fn query(&self, round: u64, recorded: u64) -> String {
        let seconds = recorded / PER_SECOND;
        let span = |length: u64| {
            let from = BEGIN + (seconds.saturating_sub(length) * (round % 10) / 10).cast_signed();
            let time = |second| {
                jiff::Timestamp::from_second(second).map_or_else(|_| String::new(), |time| time.to_string())
            };
            format!("from={}&to={}", time(from), time(from + length.cast_signed()))
        };
        self.query
            .replace("{}", &round.to_string())
            .replace("{d}", &span(86_400))
            .replace("{h}", &span(3_600))
    }
}

/// Each filter alone.
pub(super) const SINGLES: [Question; 19] = [
    ask("nothing", ""),
    ask("nothing, the oldest first", "order=oldest"),
    ask("kind", "kind=action.ended"),
    ask("kind that is rare", "kind=policy.activated"),
    ask("principal", "principal=client:bot-{}"),
    ask("principalKind", "principalKind=engine"),
    ask("onBehalfOf", "onBehalfOf=client:bot-{}"),
    ask("cluster", "cluster=c3"),
    ask("namespace", "namespace=team-{}"),
    ask("targetKind", "targetKind=Deployment"),
    ask("targetName", "targetName=web-{}"),
    ask("actionType", "actionType=rollback"),
    ask("decision", "decision=DENY"),
    ask("policy", "policy=policy-{}"),
    ask("outcome", "outcome=failed"),
    ask("requestId that is not there", "requestId=r{}"),
    ask("actionId that is not there", "actionId=019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90"),
    ask("from and to, a day", "{d}"),
    ask("text within an hour", "text=policy-1%22&{h}"),
];

/// The pairs that people use.
pub(super) const PAIRS: [Question; 22] = [
    ask("principal and kind", "principal=client:bot-{}&kind=decision.made"),
    ask("principal and a kind it never writes", "principal=client:bot-{}&kind=action.ended"),
    ask("principal and a day", "principal=client:bot-{}&{d}"),
    ask("principal and decision", "principal=client:bot-{}&decision=DENY"),
    ask("onBehalfOf and outcome", "onBehalfOf=client:bot-{}&outcome=failed"),
    ask("onBehalfOf and kind", "onBehalfOf=client:bot-{}&kind=action.ended"),
    ask("kind and a day", "kind=action.ended&{d}"),
    ask("kind and namespace", "kind=action.requested&namespace=team-{}"),
    ask("kind and cluster", "kind=action.requested&cluster=c2"),
    ask("cluster and namespace", "cluster=c1&namespace=team-{}"),
    ask("namespace and targetName", "namespace=team-{}&targetName=web-{}"),
    ask("namespace and decision", "namespace=team-{}&decision=DENY"),
    ask("namespace and outcome", "namespace=team-{}&outcome=failed"),
    ask("namespace and actionType", "namespace=team-{}&actionType=scale"),
    ask("targetName and kind", "targetName=web-{}&kind=action.ended"),
    ask("targetName and outcome", "targetName=web-{}&outcome=failed"),
    ask("actionType and outcome", "actionType=rollback&outcome=failed"),
    ask("policy and decision", "policy=policy-{}&decision=DENY"),
    ask("decision and a day", "decision=DENY&{d}"),
    ask("outcome and a day", "outcome=failed&{d}"),
    ask("principalKind and kind", "principalKind=user&kind=policy.activated"),
    ask("targetName and a day", "targetName=web-{}&{d}"),
];
