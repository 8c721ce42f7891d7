-- Who a user is at a provider of OpenID Connect. The provider is the exact text of its issuer.
CREATE TABLE identities (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    label TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX identities_by_subject ON identities (issuer, subject);
CREATE INDEX identities_of_user ON identities (user_id);

-- What may be used once, until it would not hold any more: the SHA-256 of it.
CREATE TABLE used_secrets (
    hash TEXT PRIMARY KEY,
    until BIGINT NOT NULL
);
CREATE INDEX used_secrets_by_end ON used_secrets (until);
