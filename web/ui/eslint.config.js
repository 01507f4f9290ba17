import js from "@eslint/js";
import tseslint from "typescript-eslint";

export default tseslint.config({ ignores: ["test/page.mjs"] }, js.configs.recommended, ...tseslint.configs.strict, {
  rules: { "@typescript-eslint/no-explicit-any": "error" },
});
