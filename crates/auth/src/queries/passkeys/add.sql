-- Add a passkey to a user whose row is as it was read.
-- $1 id, $2 user, $3 version, $4 credential id, $5 COSE key, $6 AAGUID, $7 counter, $8 transports, $9 may be backed up,
-- $10 is backed up, $11 name, $12 now, $13 rows of the audit log as JSON.
with gate as (
  update auth.users u set updated_at = $12 where u.id = $2 and u.xmin::text = $3 returning u.id
),
added as (
  insert into auth.webauthn_credentials (
    id, user_id, credential_id, public_key, attestation_type, aaguid, sign_count, transports, backup_eligible,
    backed_up, friendly_name, created_at, updated_at
  )
  select $1::uuid, gate.id, $4::bytea, $5::bytea, 'none', $6::uuid, $7::bigint, $8::jsonb, $9::boolean, $10::boolean,
    $11::text, $12::timestamptz, $12::timestamptz
  from gate
  returning id
),
told as (
  insert into auth.audit_log_entries (instance_id, id, payload, created_at, ip_address)
  select '00000000-0000-0000-0000-000000000000', r.id, r.payload, $12::timestamptz, r.ip_address
  from gate, jsonb_populate_recordset(null::auth.audit_log_entries, $13::text::jsonb) r
  returning id
)
select exists (select from added)
