// The routes of /v1/desk and /v1, one function each. Errors become ApiError with the server's sentence.

export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function request(method, path, body) {
  const headers = { "x-hjc-request": "1" };
  let payload;
  if (body instanceof FormData) payload = body;
  else if (body !== undefined) {
    headers["content-type"] = "application/json";
    payload = JSON.stringify(body);
  }
  const answer = await fetch(path, { method, headers, body: payload, credentials: "same-origin" });
  const text = await answer.text();
  let value = null;
  try { value = JSON.parse(text); } catch { /* not JSON: told below by its status */ }
  if (!answer.ok) {
    throw new ApiError(answer.status, (value && value.detail) || `${answer.status}`);
  }
  return value;
}

const query = values => {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
};

export const me = () => request("GET", "/v1/desk/me");
export const login = who => request("POST", "/v1/desk/login", who);
export const logout = () => request("POST", "/v1/desk/logout", {});
export const batches = () => request("GET", "/v1/desk/batches");
export const newBatch = settings => request("POST", "/v1/desk/batches", settings);
export const job = name => request("GET", `/v1/jobs/${encodeURIComponent(name)}`);
export const next = wanted => request("POST", "/v1/desk/next", wanted);
export const decide = decision => request("POST", "/v1/desk/decisions", decision);
export const undo = wanted => request("POST", "/v1/desk/undo", wanted);
export const history = wanted => request("GET", `/v1/desk/history${query(wanted)}`);
export const progress = wanted => request("GET", `/v1/desk/progress${query(wanted)}`);
export const search = wanted => request("GET", `/v1/taxonomy/search${query(wanted)}`);
export const children = wanted => request("GET", `/v1/taxonomy${query(wanted)}`);
export const explain = wanted => request("POST", "/v1/explain", wanted);
export const supervise = wanted => request("GET", `/v1/desk/supervise${query(wanted)}`);
export const disputes = wanted => request("GET", `/v1/desk/disputes${query(wanted)}`);
export const adjudicate = wanted => request("POST", "/v1/desk/adjudicate", wanted);
export const deal = (batch, wanted) => request("POST", `/v1/desk/batches/${batch}/deal`, wanted);
export const exported = wanted => `/v1/desk/export${query(wanted)}`;

export function look(file, model) {
  const form = new FormData();
  form.append("file", file);
  if (model) form.append("model", model);
  return request("POST", "/v1/desk/look", form);
}

export function upload(file, settings) {
  const form = new FormData();
  form.append("file", file);
  form.append("settings", JSON.stringify(settings));
  return request("POST", "/v1/desk/upload", form);
}

// A name for a decision: the same request sent twice changes nothing.
export const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map(b => b.toString(16).padStart(2, "0")).join("");
