// What every driver does: read a target from standard input, play its cases, print what came of each.
// The counterpart of ../drivers/cases.py; the target has `refusals` too, from ../refusals.py.
import { readFileSync, writeSync } from "node:fs";

export const target = JSON.parse(readFileSync(0, "utf8"));

// One JSON object on standard output: case -> {"result": ...}, or {"error": ...} for the exception.
export async function play(cases) {
  const outcomes = {};
  for (const [name, run] of Object.entries(cases)) {
    try {
      outcomes[name] = { result: await run() };
    } catch (error) {
      const status = error.status ?? error.statusCode ?? null;
      outcomes[name] = { error: { type: error.name, text: String(error.message), status } };
    }
  }
  writeSync(1, JSON.stringify(outcomes));
}

// A case for each refusal that `meets` takes: `ask` gets the refusal and the token to use.
export function refusals(prefix, ask, meets = () => true) {
  return Object.fromEntries(
    Object.entries(target.refusals)
      .filter(([, refusal]) => meets(refusal))
      .map(([name, refusal]) => [`${prefix}_${name}`, () => ask(refusal, target.tokens[refusal.token])]),
  );
}

// Those that a client without countTokens can meet.
export const generating = (refusal) => !refusal.counts_tokens;
