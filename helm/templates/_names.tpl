{{/* Names, labels, and where images are. */}}

{{- define "lighterage.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "lighterage.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $release := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- /* Room for what StatefulSets, claims and the names of parts add. */ -}}
{{- default $release .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "lighterage.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "lighterage.serviceAccount" -}}
{{- default (ternary (include "lighterage.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* What never changes, because a workload's selector cannot. */}}
{{- define "lighterage.selector" -}}
{{ include "lighterage.selector.of" (list . "proxy") }}
{{- end -}}

{{- define "lighterage.redis.selector" -}}
{{ include "lighterage.selector.of" (list . "redis") }}
{{- end -}}

{{- define "lighterage.selector.of" -}}
app.kubernetes.io/name: {{ include "lighterage.name" (first .) }}
app.kubernetes.io/instance: {{ (first .).Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{- define "lighterage.labels" -}}
{{ include "lighterage.labels.pod" . }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Not the chart's version: another chart alone must not replace pods. */}}
{{- define "lighterage.labels.pod" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
The metadata of an object. `name` is what follows the release's name, `component` proxy, redis or
test, `labels` and `annotations` what is added.
*/}}
{{- define "lighterage.metadata" -}}
{{- $root := .root -}}
name: {{ include "lighterage.fullname" $root }}{{ with .name }}-{{ . }}{{ end }}
namespace: {{ include "lighterage.namespace" $root }}
labels:
  {{- include "lighterage.selector.of" (list $root .component) | nindent 2 }}
  {{- include "lighterage.labels" $root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An image of `image`, a section of the values, with `tag` where it has none. */}}
{{- define "lighterage.image" -}}
{{- $registry := default .image.registry .root.Values.global.imageRegistry -}}
{{- $name := join "/" (compact (list $registry .image.repository)) -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ default .tag .image.tag }}
{{- end -}}
{{- end -}}

{{/* The proxy's host inside the cluster. */}}
{{- define "lighterage.host" -}}
{{ include "lighterage.fullname" . }}.{{ include "lighterage.namespace" . }}.svc
{{- end -}}
