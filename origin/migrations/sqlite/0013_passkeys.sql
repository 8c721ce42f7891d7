-- Passkeys (WebAuthn) of users: a public key and what the device said last. credential_id is the SHA-256 of the id that
-- the device gave it, counter the last one it signed with. A slot is one of the places that a user has: two that are
-- added at once cannot take the same.
CREATE TABLE passkeys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    slot BIGINT NOT NULL,
    name TEXT NOT NULL,
    credential_id TEXT NOT NULL UNIQUE,
    credential TEXT NOT NULL,
    counter BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT,
    UNIQUE (user_id, slot)
);

-- Challenges that wait for their answer, each once. The id is the SHA-256 of the challenge.
CREATE TABLE passkey_ceremonies (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    state TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX passkey_ceremonies_of_user ON passkey_ceremonies (user_id, purpose, expires_at);
CREATE INDEX passkey_ceremonies_by_expiry ON passkey_ceremonies (expires_at);
