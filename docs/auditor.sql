-- Lets the role auditor read the audit log. For the owner of the control plane's database, connected to it.
do $$ begin execute format('grant connect on database %I to auditor', current_database()); end $$;
grant select on audit_events, policy_audit_logs, action_audit_logs to auditor;
