// How does this page talk to the service? As an EHR: discovery, the hook call, feedback.

const PATIENCE = 10_000; // milliseconds; an EHR would have given up long before

// Raised for whatever is no answer: { status, text, body }. Text is for a person.
export class NoAdvice extends Error {
  constructor(text, status = null, body = null) {
    super(text);
    this.status = status;
    this.body = body;
  }
}

export const getJson = (url) => exchange(url, { method: "GET" }).then(({ body }) => body);

export async function discover() {
  const { services } = await getJson("/cds-services");
  return services.filter((service) => service.hook === "order-select");
}

// { body, status, ms }
export const call = (id, request, signal) => post(`/cds-services/${encodeURIComponent(id)}`, request, signal);

export const explain = (request) => post("/demo/explain", request).then(({ body }) => body.text);

// What became of the feedback, in words.
export async function sendFeedback(id, feedback) {
  try {
    await post(`/cds-services/${encodeURIComponent(id)}/feedback`, { feedback: [feedback] });
    return "Feedback sent.";
  } catch (problem) {
    if (!(problem instanceof NoAdvice)) throw problem;
    return problem.status === 404
      ? "Feedback is not on in this service (404): it stays on this page."
      : `Feedback was not accepted. ${problem.message}`;
  }
}

function post(url, body, signal) {
  return exchange(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

async function exchange(url, options) {
  const started = performance.now();
  const patience = AbortSignal.timeout(PATIENCE);
  const signal = options.signal ? AbortSignal.any([options.signal, patience]) : patience;
  let response;
  let text;
  try {
    response = await fetch(url, { ...options, signal, credentials: "omit" });
    text = await response.text();
  } catch (error) {
    if (options.signal?.aborted) throw error; // overtaken by a newer call
    throw new NoAdvice(
      patience.aborted
        ? `The service did not answer within ${PATIENCE / 1000} seconds.`
        : "The service could not be reached.",
    );
  }
  const ms = performance.now() - started;
  const body = parsed(text);
  if (!response.ok) throw new NoAdvice(reason(response.status, body), response.status, body);
  if (body === null) throw new NoAdvice("The answer is not JSON.", response.status);
  return { body, status: response.status, ms };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function reason(status, body) {
  const said = (body?.issue ?? []).map((issue) => issue.diagnostics).filter(Boolean);
  return `The service answered ${status}${said.length ? `: ${said.join("; ")}` : ""}.`;
}
