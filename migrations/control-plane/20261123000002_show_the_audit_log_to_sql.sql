-- The audit log for people who ask in SQL. `docs/audit-log.md` says how to let them in. What JSON can
-- say and Postgres cannot, the character 0, shows as U+FFFD.

-- Everything that was recorded.
create view audit_events as
    select e.index, e.id, e.kind as type, e.principal as actor_id, e.action_id,
           replace(convert_from(e.body, 'UTF8'), '\u0000', '\ufffd')::json -> 'data' as details, e.request_id, e.at as created_at
    from audit.recorded e;

-- Every decision of the policies, with what it was given.
create view policy_audit_logs as
    select e.index, d.entry_id as id, d.id as decision_id, d.action_id, d.principal as subject_id,
           b.body -> 'request' -> 'roles' as roles, b.body -> 'request' ->> 'action' as action,
           b.body -> 'request' ->> 'resource' as resource, b.body -> 'request' -> 'params' as params,
           b.body -> 'request' -> 'metadata' as metadata, d.effect as decision, b.body ->> 'reason' as reason,
           b.body -> 'rules' as matched_policies, d.policy_digest as policy_set_digest,
           e.principal as asked_by, e.request_id, split_part(a.traceparent, '-', 2) as trace_id,
           d.decided_at as created_at
    from decisions d
        cross join lateral (select replace(convert_from(d.body, 'UTF8'), '\u0000', '\ufffd')::json) b (body)
        left join audit.recorded e on e.id = d.entry_id
        left join actions a on a.id = d.action_id;

-- Every step of every action, from being asked for to its outcome.
create view action_audit_logs as
    select e.index, e.id, e.action_id, e.kind as phase, a.type as action_type, a.params as action_params, a.cluster,
           a.namespace, a.kind as target_kind, a.name as target_name, a.dry_run, a.requested_by,
           e.principal as actor_id, a.decision_id, (b.data ->> 'attempt')::integer as attempt,
           coalesce(b.data ->> 'state', b.data ->> 'stage') as status, b.data ->> 'code' as code,
           b.data ->> 'message' as message, b.data as details, e.request_id,
           split_part(a.traceparent, '-', 2) as trace_id, e.at as created_at
    from audit.recorded e
        join actions a on a.id = e.action_id
        cross join lateral (select replace(convert_from(e.body, 'UTF8'), '\u0000', '\ufffd')::json -> 'data') b (data);
