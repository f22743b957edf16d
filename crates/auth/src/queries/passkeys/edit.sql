-- Rename a passkey, or delete it when there is no name; $1: a PasskeyEdit (see passkeys.rs) as JSON.
with input as materialized (
  select change as it, (change ->> 'now')::timestamptz as now from (select $1::text::jsonb as change) q
),
renamed as (
  update auth.webauthn_credentials c set friendly_name = it ->> 'friendly_name', updated_at = input.now from input
  where it ? 'friendly_name' and c.id = (it ->> 'id')::uuid and c.user_id = (it ->> 'user_id')::uuid
  returning c.id
),
deleted as (
  delete from auth.webauthn_credentials c using input
  where not it ? 'friendly_name' and c.id = (it ->> 'id')::uuid and c.user_id = (it ->> 'user_id')::uuid
  returning c.id
),
gate as (
  select it, now from input where exists (select from renamed) or exists (select from deleted)
),
told as (
  insert into auth.audit_log_entries (instance_id, id, payload, created_at, ip_address)
  select '00000000-0000-0000-0000-000000000000', r.id, r.payload, now, r.ip_address
  from gate, jsonb_populate_recordset(null::auth.audit_log_entries, it -> 'audit') r
  returning id
)
select exists (select from gate)
