-- Remove a factor; sessions that used it fall back to level 1. $1: a Removal (see factors.rs) as JSON.
with input as materialized (
  select change as it, (change ->> 'now')::timestamptz as now from (select $1::text::jsonb as change) q
),
gate as (
  delete from auth.mfa_factors f using input
  where f.id = (it ->> 'factor_id')::uuid and f.user_id = (it ->> 'user_id')::uuid
  returning it, input.now
),
lowered as (
  update auth.sessions s set aal = 'aal1', factor_id = null, updated_at = gate.now from gate
  where s.user_id = (it ->> 'user_id')::uuid and s.factor_id = (it ->> 'factor_id')::uuid
  returning s.id
),
forgotten as (
  delete from auth.mfa_amr_claims c using gate, lowered
  where c.session_id = lowered.id and c.authentication_method = it ->> 'method'
  returning c.id
),
told as (
  insert into auth.audit_log_entries (instance_id, id, payload, created_at, ip_address)
  select '00000000-0000-0000-0000-000000000000', r.id, r.payload, now, r.ip_address
  from gate, jsonb_populate_recordset(null::auth.audit_log_entries, it -> 'audit') r
  returning id
)
select exists (select from gate)
