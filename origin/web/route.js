// Where in the page the reader is: what stands behind `#/` in the address, so that links, the
// back button and bookmarks work.
//
//   #/                        speech
//   #/account/tokens          a page of the account
//   #/admin/users?search=ada  a page of administration, with what is looked for

/** `{view, page, query}`; null while the address means something else, such as a secret of a link. */
export function here() {
  const { hash } = location;
  if (hash !== "" && !hash.startsWith("#/")) return null;
  const [path, query = ""] = hash.slice(2).split("?");
  const [view, page = ""] = path.split("/");
  return { view: view || "speech", page, query: new URLSearchParams(query) };
}

export const addressOf = (view, page, query = {}) => {
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  return `#/${view}/${page}${asked.size > 0 ? `?${asked}` : ""}`;
};

/** Corrects the address without a step that the back button would stop at. */
export function correct(address) {
  history.replaceState(null, "", location.pathname + address);
}

export function onRoute(follow) {
  addEventListener("hashchange", () => {
    const place = here();
    if (place) follow(place);
  });
}
