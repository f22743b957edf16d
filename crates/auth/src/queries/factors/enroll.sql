-- Add a factor to a user whose row is as it was read; $1: an Enrollment (see factors.rs) as JSON.
with input as materialized (
  select change as it, (change ->> 'now')::timestamptz as now from (select $1::text::jsonb as change) q
),
gate as (
  update auth.users u set updated_at = input.now from input
  where u.id = (it -> 'factor' ->> 'user_id')::uuid and u.xmin::text = it ->> 'version'
  returning it, input.now
),
dropped as (
  delete from auth.mfa_factors f using gate
  where f.user_id = (it -> 'factor' ->> 'user_id')::uuid and f.status = 'unverified'
    and f.id in (select value::uuid from jsonb_array_elements_text(it -> 'replaces'))
  returning f.id
),
added as (
  insert into auth.mfa_factors (
    id, user_id, friendly_name, factor_type, status, created_at, updated_at, secret, phone
  )
  select r.id, r.user_id, r.friendly_name, r.factor_type, 'unverified', now, now, r.secret, r.phone
  from gate, jsonb_populate_record(null::auth.mfa_factors, it -> 'factor') r
  where (select count(*) from dropped) >= 0
  returning id
),
told as (
  insert into auth.audit_log_entries (instance_id, id, payload, created_at, ip_address)
  select '00000000-0000-0000-0000-000000000000', r.id, r.payload, now, r.ip_address
  from gate, jsonb_populate_recordset(null::auth.audit_log_entries, it -> 'audit') r
  returning id
)
select exists (select from added)
