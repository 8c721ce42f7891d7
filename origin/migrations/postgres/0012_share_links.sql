-- Whoever has the secret may hear one output. Only its SHA-256 is kept. A slot is one of the places that a user has: two
-- links that are made at once cannot take the same.
CREATE TABLE share_links (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    slot BIGINT NOT NULL,
    output_id TEXT NOT NULL,
    secret_hash TEXT NOT NULL UNIQUE,
    password_hash TEXT,
    downloads BIGINT NOT NULL,
    downloads_limit BIGINT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    UNIQUE (user_id, slot)
);
CREATE INDEX share_links_of_output ON share_links (output_id);
CREATE INDEX share_links_by_expiry ON share_links (expires_at);
