import preact from "@preact/preset-vite";
import { defineConfig } from "vite";

// Relative addresses: the page works below any path.
export default defineConfig({
  base: "./",
  plugins: [preact()],
  build: { target: "es2022", assetsInlineLimit: 0, reportCompressedSize: true },
  server: { proxy: { "/api": { target: "http://127.0.0.1:8080", ws: true } } },
});
