declare module "echarts-gl/charts" {
  type Extension = (registers: unknown) => void;
  export const Scatter3DChart: Extension;
}

declare module "echarts-gl/components" {
  type Extension = (registers: unknown) => void;
  export const Grid3DComponent: Extension;
}
