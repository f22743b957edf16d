-- Give a factor another name or phone number; $1: an Edit (see factors.rs) as JSON.
with input as materialized (
  select change as it, (change ->> 'now')::timestamptz as now from (select $1::text::jsonb as change) q
),
gate as (
  update auth.mfa_factors f set
    friendly_name = coalesce(it ->> 'friendly_name', f.friendly_name),
    phone = coalesce(it ->> 'phone', f.phone), updated_at = input.now
  from input
  where f.id = (it ->> 'factor_id')::uuid and f.user_id = (it ->> 'user_id')::uuid
  returning it, input.now, f.id
),
told as (
  insert into auth.audit_log_entries (instance_id, id, payload, created_at, ip_address)
  select '00000000-0000-0000-0000-000000000000', r.id, r.payload, now, r.ip_address
  from gate, jsonb_populate_recordset(null::auth.audit_log_entries, it -> 'audit') r
  returning id
)
select exists (select from gate)
