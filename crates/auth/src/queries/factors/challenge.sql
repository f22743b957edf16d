-- Challenge a factor; $1: a Challenging (see factors.rs) as JSON. Challenges of yesterday go.
with input as materialized (
  select change as it, (change ->> 'now')::timestamptz as now from (select $1::text::jsonb as change) q
),
gate as (
  update auth.mfa_factors f set last_challenged_at = input.now from input
  where f.id = (it -> 'challenge' ->> 'factor_id')::uuid
  returning it, input.now
),
dropped as (
  delete from auth.mfa_challenges c using gate
  where c.factor_id = (it -> 'challenge' ->> 'factor_id')::uuid and c.created_at < gate.now - interval '1 day'
  returning c.id
),
added as (
  insert into auth.mfa_challenges (id, factor_id, created_at, ip_address, otp_code, web_authn_session_data)
  select r.id, r.factor_id, now, r.ip_address, r.otp_code, r.web_authn_session_data
  from gate, jsonb_populate_record(null::auth.mfa_challenges, it -> 'challenge') r
  returning id
),
told as (
  insert into auth.audit_log_entries (instance_id, id, payload, created_at, ip_address)
  select '00000000-0000-0000-0000-000000000000', r.id, r.payload, now, r.ip_address
  from gate, jsonb_populate_recordset(null::auth.audit_log_entries, it -> 'audit') r
  returning id
)
select exists (select from added)
