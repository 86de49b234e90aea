{{/* Names, labels, and references of images. */}}

{{- define "lighterage.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "lighterage.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $release := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- $full := default $release .Values.fullnameOverride -}}
{{- /* Kubernetes puts a StatefulSet's name and a hash into a label, which has at most 63 characters. */ -}}
{{- if gt (len $full) 52 -}}
{{ trunc 43 $full | trimSuffix "-" }}-{{ sha256sum $full | trunc 8 }}
{{- else -}}
{{ trimSuffix "-" $full }}
{{- end -}}
{{- end -}}

{{- define "lighterage.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "lighterage.serviceAccount" -}}
{{- default (ternary (include "lighterage.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* Labels that never change, because a workload's selector cannot. */}}
{{- define "lighterage.selector" -}}
{{ include "lighterage.selector.of" (list . "proxy") }}
{{- end -}}

{{- define "lighterage.redis.selector" -}}
{{ include "lighterage.selector.of" (list . "redis") }}
{{- end -}}

{{- define "lighterage.selector.of" -}}
app.kubernetes.io/name: {{ include "lighterage.name" (first .) | quote }}
app.kubernetes.io/instance: {{ (first .).Release.Name | quote }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{/*
The labels of an object of `component`, with `labels` and, if `chart` is true, the chart's version.
Pods do not have that, because a new chart alone must not replace them. No label is repeated.
*/}}
{{- define "lighterage.labels" -}}
{{- $labels := include "lighterage.selector.of" (list .root .component) | fromYaml -}}
{{- $labels = merge $labels (.labels | default dict) (.root.Values.commonLabels | default dict) -}}
{{- $ours := dict "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- if .chart -}}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- end -}}
{{- merge $labels $ours | toYaml -}}
{{- end -}}

{{/*
The metadata of an object. `name` is what follows the release's name, `component` proxy, redis or
test; `labels` and `annotations` are added.
*/}}
{{- define "lighterage.metadata" -}}
{{- $root := .root -}}
name: {{ printf "%s%s" (include "lighterage.fullname" $root) (ternary (printf "-%s" .name) "" (not (empty .name))) | quote }}
namespace: {{ include "lighterage.namespace" $root | quote }}
labels:
  {{- include "lighterage.labels" (dict "root" $root "component" .component "labels" .labels "chart" true) | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) ($root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An image of `image`, a section of the values, with `tag` where it has none. */}}
{{- define "lighterage.image" -}}
{{- $registry := default .image.registry (.root.Values.global | default dict).imageRegistry -}}
{{- $name := join "/" (compact (list $registry .image.repository)) -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ default .tag .image.tag }}
{{- end -}}
{{- end -}}

{{/* The kind of the proxy's workload: replicas that share a bucket are interchangeable, and `nodes` has one a node. */}}
{{- define "lighterage.kind" -}}
{{- get (dict "bucket" "Deployment" "nodes" "DaemonSet") .Values.storage.layout | default "StatefulSet" -}}
{{- end -}}

{{/* Whether there can be more than one replica. */}}
{{- define "lighterage.areSeveral" -}}
{{- if or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled (eq .Values.storage.layout "nodes") -}}yes{{- end -}}
{{- end -}}

{{/* Where the Service sends a connection. With a proxy on each node that is the node's own, as soon as Kubernetes can. */}}
{{- define "lighterage.trafficDistribution" -}}
{{- $service := .Values.service -}}
{{- $own := and (eq .Values.storage.layout "nodes") (not $service.internalTrafficPolicy) (not $service.externalTrafficPolicy) -}}
{{- default (ternary "PreferSameNode" "" (and $own (ne (include "lighterage.hasSameNode" .) ""))) $service.trafficDistribution -}}
{{- end -}}

{{/* Whether Kubernetes has `PreferSameNode`: since 1.34. */}}
{{- define "lighterage.hasSameNode" -}}
{{- if semverCompare ">=1.34.0-0" .Capabilities.KubeVersion.Version }}yes{{ end -}}
{{- end -}}

{{/* The proxy's host inside the cluster. */}}
{{- define "lighterage.host" -}}
{{ include "lighterage.fullname" . }}.{{ include "lighterage.namespace" . }}.svc
{{- end -}}

{{/* Secrets to pull images with, as Kubernetes wants them: a name alone is one, too. Those of all charts come last. */}}
{{- define "lighterage.pullSecrets" -}}
{{- $names := list -}}
{{- range concat (.Values.imagePullSecrets | default list) ((.Values.global | default dict).imagePullSecrets | default list) -}}
{{- $names = append $names (ternary . (get (ternary dict . (kindIs "string" .)) "name") (kindIs "string" .)) -}}
{{- end -}}
{{- with uniq $names -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* The host names of the Ingress: `name`, or `{host: name}` as other charts have it. */}}
{{- define "lighterage.ingress.hosts" -}}
{{- $hosts := list -}}
{{- range .Values.ingress.hosts -}}
{{- $hosts = append $hosts (ternary . (get (ternary dict . (kindIs "string" .)) "host") (kindIs "string" .)) -}}
{{- end -}}
{{- toYaml $hosts -}}
{{- end -}}
